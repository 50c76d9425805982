"""Networks of the Hugging Face hub, or of folders in its form, through `transformers` (the extra `hf`).

Only safetensors are read, and no code of a repository is run. A name is pinned to the commit that it stood for when it
was loaded; `hf:NAME@REVISION` asks for another.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest

HF = "hf:"  # before a name or a folder
OLDEST = (5, 9)  # of transformers: before it RF-DETR's boxes were wrong


@dataclass(frozen=True)
class HubModel:
    option: str  # as the user said it, for messages
    place: str  # name or folder
    revision: str | None  # the commit; None for a folder
    licence: str  # as its model card says, or "unknown"
    digest: str
    config: Any

    @property
    def origin(self) -> dict[str, str]:
        """Where it is from, for run.json."""
        return {"place": self.place, "revision": self.revision or "", "licence": self.licence}

    def load(self, kind: Any, **more: Any) -> Any:
        """What `kind.from_pretrained` makes of it. InputError when it cannot."""
        try:
            return kind.from_pretrained(self.place, revision=self.revision, trust_remote_code=False, **more)
        except Exception as error:  # net, files and versions come from outside: however they fail, it means the same
            raise InputError(_refusal(self.option, self.place, error)) from None

    def load_network(self, kind: Any, device: str) -> Any:
        """The network, ready to look, of weights in safetensors."""
        return self.load(kind, use_safetensors=True).eval().to(device)


def find_hub_model(option: str, name: str) -> HubModel:
    """The model that `option` (such as "--detector") names as `hf:NAME`, `hf:NAME@REVISION` or `hf:FOLDER`.

    Raises InputError, with the ways out, when it cannot be had.
    """
    option = f"{option} {name}"
    try:
        import transformers
    except ImportError:
        raise InputError(f'{option}: needs transformers; pip install -e ".[hf]"') from None
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    if version < OLDEST:
        raise InputError(f'{option}: transformers {transformers.__version__} is too old; pip install -U -e ".[hf]"')
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    place = name.removeprefix(HF)
    folder = Path(place)
    if folder.exists():
        if not (folder / "config.json").is_file():
            raise InputError(f"{option}: no model: it holds no config.json")
        if not list(folder.glob("*.safetensors")):
            raise InputError(f"{option}: holds no .safetensors; other weights could hold code, and are not read")
        place, revision = str(folder), None
    elif folder.is_absolute() or place.startswith((".", "~")) or place.count("/") > 1:
        raise InputError(f"{option}: no such folder")  # a name on the hub is OWNER/NAME
    else:
        place, _, wanted = place.partition("@")
        revision = wanted or None
    try:
        config = transformers.AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False)
    except Exception as error:
        raise InputError(_refusal(option, place, error)) from None
    if folder.exists():
        return HubModel(option, place, None, _licence(place, None), _folder_digest(folder), config)
    commit = str(getattr(config, "_commit_hash", None) or revision or "main")
    return HubModel(option, place, commit, _licence(place, commit), digest_of([place, commit]), config)


def _folder_digest(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".json", ".txt", ".model"))
    return digest_of([(path.name, file_digest(path)) for path in files])


def _licence(place: str, revision: str | None) -> str:
    """Of the model card; it may be missing, and nothing fails for that."""
    from huggingface_hub import ModelCard, hf_hub_download

    try:
        card = Path(place) / "README.md" if revision is None else hf_hub_download(place, "README.md", revision=revision)
        return str(ModelCard.load(card).data.get("license") or "unknown")
    except Exception:  # not there, not reachable, or no YAML in it
        return "unknown"


def _refusal(option: str, place: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:160]
    return (
        f"{option}: cannot be had ({reason}); where there is a network: hf download {place} --local-dir FOLDER, then "
        "say hf:FOLDER; or name another"
    )
