"""Detector files: what is written is read, and what is not sound is refused in one line."""

import pickle
import zipfile

import pytest
import torch

from labels.models import checkpoints as networks
from labels.models.checkpoints import (
    build_network,
    check_architecture,
    load_checkpoint,
    network_from_checkpoint,
    own_long_side,
    require_fit,
    save_checkpoint,
)
from labels.models.detectors.ballnet import BallNet, BallNetSettings
from labels.records.errors import InputError

SETTINGS = {"long_side": 64, "channels": [4, 6, 8], "min_score": 0.05, "most_boxes": 5}


def payload(**changed):
    network = BallNet(1, BallNetSettings(channels=(4, 6, 8)))
    return {
        "architecture": "ballnet",
        "class_names": ["sports ball"],
        "settings": SETTINGS,
        "working_threshold": {"sports ball": 0.4},
        "network": network.state_dict(),
        "metrics": {},
    } | changed


def test_what_is_saved_is_loaded_and_is_the_same_bytes_under_any_name(tmp_path):
    saved = payload()
    save_checkpoint(tmp_path / "detector.pt", saved)
    save_checkpoint(tmp_path / "other_name.pt", saved)
    assert (tmp_path / "detector.pt").read_bytes() == (tmp_path / "other_name.pt").read_bytes()
    network = network_from_checkpoint(load_checkpoint(tmp_path / "detector.pt"), "detector.pt")
    assert network.settings == BallNetSettings(long_side=64, channels=(4, 6, 8), most_boxes=5)
    assert all(torch.equal(tensor, saved["network"][name]) for name, tensor in network.state_dict().items())


class Malicious:
    def __reduce__(self):
        return (print, ("code of the file was run",))


@pytest.mark.parametrize(
    "contents",
    [b"", b"not a zip", pickle.dumps({"format": "rally-detector-1"}), pickle.dumps(Malicious())],
    ids=["empty", "text", "pickle", "code"],
)
def test_other_files_are_refused_in_one_line(tmp_path, contents, capsys):
    path = tmp_path / "x.pt"
    path.write_bytes(contents)
    with pytest.raises(InputError, match=r"x\.pt") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
    assert "code of the file" not in capsys.readouterr().out


def test_a_cut_file_and_an_absent_one_are_refused(tmp_path):
    save_checkpoint(tmp_path / "whole.pt", payload())
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:-500])
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(tmp_path / "cut.pt")
    with pytest.raises(InputError, match="no such file"):
        load_checkpoint(tmp_path / "absent.pt")


NOT_FINITE = {"a": torch.tensor([1.0, float("nan")])}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"format": "rally-detector-0"}, "not a detector file of this version"),
        ({"architecture": 3}, "architecture must be"),
        ({"class_names": []}, "class names"),
        ({"class_names": ["a", "a"]}, "class names"),
        ({"working_threshold": {}}, "threshold"),
        ({"working_threshold": {"sports ball": 1.5}}, "threshold"),
        ({"network": {}}, "no weights"),
        ({"network": {"a": 1}}, "no tensor"),
        ({"network": NOT_FINITE}, "not finite"),
    ],
)
def test_what_is_not_sound_is_neither_written_nor_read(tmp_path, changed, reason):
    broken = {"format": "rally-detector-1", **payload(**changed)}
    with pytest.raises(InputError, match=reason):
        save_checkpoint(tmp_path / "x.pt", broken)
    assert not (tmp_path / "x.pt").exists()
    torch.save(broken, tmp_path / "x.pt")
    with pytest.raises(InputError, match=reason):
        load_checkpoint(tmp_path / "x.pt")


def test_a_checkpoint_must_fit():
    saved = payload()
    require_fit(saved, "ballnet", ("sports ball",), "x.pt")
    with pytest.raises(InputError, match="is a ballnet, not a ssdlite320_mobilenet_v3_large"):
        require_fit(saved, "ssdlite320_mobilenet_v3_large", ("sports ball",), "x.pt")
    two = saved | {"class_names": ["sports ball", "person"]}
    with pytest.raises(InputError, match=r"classes \(sports ball, person\), not for \(person, sports ball\)"):
        require_fit(two, "ballnet", ("person", "sports ball"), "x.pt")
    with pytest.raises(InputError, match="do not fit"):
        network_from_checkpoint(two, "x.pt")
    with pytest.raises(InputError, match="no settings colour"):
        network_from_checkpoint(saved | {"settings": {"colour": 1}}, "x.pt")


def test_torchvision_networks_get_a_head_for_the_classes():
    network = build_network("ssdlite320_mobilenet_v3_large", ("sports ball", "person"), {}, pretrained=False)
    assert network.head.classification_head.num_columns == 3  # and background
    with pytest.raises(InputError, match="unknown; there is ballnet, hf:…, fasterrcnn"):
        check_architecture("resnet")
    with pytest.raises(InputError, match="no settings no_such"):
        build_network("ssdlite320_mobilenet_v3_large", ("person",), {"no_such": 1}, pretrained=False)


def test_a_torchvision_network_looks_at_frames_at_the_size_it_was_trained_with():
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    network = build_network(name, ("sports ball",), {"long_side": 384}, pretrained=False)
    images, _ = network.transform([torch.zeros(3, 216, 384), torch.zeros(3, 720, 1280)])
    assert images.image_sizes == [(216, 384), (216, 384)]  # neither enlarged nor left large
    assert own_long_side(name) == 640
    assert own_long_side("ssdlite320_mobilenet_v3_large") == 320
    assert own_long_side("ballnet") == 512


def test_the_batch_norms_of_a_pretrained_backbone_stay_as_they_are(monkeypatch, tmp_path):
    name = "ssdlite320_mobilenet_v3_large"
    trained = build_network(name, ("sports ball",), {}, pretrained=False).state_dict()
    for key in trained:
        if key.endswith("running_var"):
            trained[key] = torch.full_like(trained[key], 2)
    monkeypatch.setattr(networks, "fetch_coco_weights", lambda name, other_ways: trained)
    network = build_network(name, ("sports ball",), {}, pretrained=True)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in network.backbone.modules())
    target = {"boxes": torch.tensor([[4.0, 4, 30, 30]]), "labels": torch.ones(1, dtype=torch.long)}
    network.train()(list(torch.rand(2, 3, 64, 64)), [target] * 2)
    after = network.state_dict()
    frozen = [key for key in after if key.startswith("backbone.") and "running" in key]
    assert len(frozen) > 50 and all(torch.equal(after[key], trained[key]) for key in frozen)
    # the file is one like any other, and the network it makes answers the same
    save_checkpoint(tmp_path / "x.pt", payload(architecture=name, settings={}, network=after))
    loaded = network_from_checkpoint(load_checkpoint(tmp_path / "x.pt"), "x.pt")
    picture = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        one, other = (each.eval().backbone(picture)["0"] for each in (network, loaded))
    assert torch.allclose(one, other, atol=1e-5)


def test_a_flipped_bit_is_told(tmp_path):
    save_checkpoint(tmp_path / "whole.pt", payload())
    data = bytearray((tmp_path / "whole.pt").read_bytes())
    with zipfile.ZipFile(tmp_path / "whole.pt") as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    place = data.index(tensor_bytes(tmp_path / "whole.pt", largest.filename))
    data[place + 2] ^= 1 << 3  # of the mantissa: as finite as before
    (tmp_path / "flipped.pt").write_bytes(data)
    with pytest.raises(InputError, match=r"flipped\.pt: is damaged .* copy it anew"):
        load_checkpoint(tmp_path / "flipped.pt")


def tensor_bytes(path, name):
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def test_a_tensor_that_is_larger_than_its_file_is_never_made(tmp_path):
    huge = torch.zeros(1).expand(2**40)  # four bytes in the file, four tebibytes once it is used
    save = {"format": "rally-detector-1"} | payload(network={"a": huge})
    torch.save(save, tmp_path / "huge.pt")
    with pytest.raises(InputError, match="holds a tensor of the shape"):
        load_checkpoint(tmp_path / "huge.pt")


def test_packed_parts_are_refused(tmp_path):
    save_checkpoint(tmp_path / "whole.pt", payload())
    packed = zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(tmp_path / "packed.pt")


@pytest.mark.parametrize(
    "settings", [SETTINGS | {"channels": [2**20, 2**20, 2**20]}, SETTINGS | {"channels": [4, 6, 9]}], ids=str
)
def test_settings_that_do_not_fit_the_weights_build_nothing(tmp_path, settings, monkeypatch):
    save_checkpoint(tmp_path / "odd.pt", payload(settings=settings))
    made = []
    monkeypatch.setattr(
        networks, "build_network", lambda *args, **named: made.append(build_network(*args, **named)) or made[-1]
    )
    with pytest.raises(InputError, match="do not fit the architecture"):
        network_from_checkpoint(load_checkpoint(tmp_path / "odd.pt"), "odd.pt")
    assert all(tensor.is_meta for network in made for tensor in network.state_dict().values())
