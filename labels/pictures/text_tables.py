"""Tables for the terminal."""

from collections.abc import Sequence


def text_table(heading: Sequence[object], rows: Sequence[Sequence[object]], left: Sequence[int] = (0,)) -> list[str]:
    """Lines of equal columns two spaces apart: columns named in `left` start left, the others (numbers) end right."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in [heading, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heading))]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
