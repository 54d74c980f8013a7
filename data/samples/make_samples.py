"""Make the samples in this folder from the published file, or prove that they came from it.

    python data/samples/make_samples.py path/to/graphing-2.parquet
    python data/samples/make_samples.py path/to/graphing-2.parquet --check

The published file is recognised by its SHA-256, so that nothing is ever made from another one.
A sample is compared by the SHA-256 of what it says (column names, types, values, metadata) and not
of its bytes, because another version of pyarrow may lay the same table out in other bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(__file__).resolve().parent

SOURCE_SHA256 = "6e51991129f0d07466d679214ca6fd69002580440e13030d9245a6a38e41221d"
NAME = "plumtree-run-flood-2018-08-31"
START, END = "2018-08-31 12:00", "2018-09-02 12:00"  # UTC, both included

# Our column, its unit, and what the published file calls it: USGS:<site>:<parameter>:<statistic>.
COLUMNS = {
    "stage_ft": ("ft", "USGS:01581752:00065:00000"),
    "water_temperature_degC": ("degC", "USGS:01581752:00010:00000"),
}

METADATA = {
    "title": "Flood of 31 August 2018 at Plumtree Run",
    "site": "USGS 01581752 Plumtree Run near Bel Air, Maryland (39.496 N, 76.347 W)",
    "source": "U.S. Geological Survey, National Water Information System",
    "licence": "Public domain (work of the United States government)",
    "units": json.dumps({column: unit for column, (unit, _) in COLUMNS.items()}),
    "datum": (
        "stage_ft is the gage height above the station's own datum: it need not be the depth over"
        " the bed of the creek, and the elevation of the datum is not in the published file"
    ),
    "time_zone": "UTC",
    "processing": (
        "Rows from 2018-08-31 12:00 to 2018-09-02 12:00 UTC inclusive; gage height (USGS"
        " parameter 00065) and temperature of the water (00010) kept and renamed; a value whose"
        " qualifier contains hf.missing was interpolated when it was published, not measured,"
        " and is left empty (none in these rows); values unchanged, all of them approved (A)"
    ),
    "source_file": "docs/notebooks/graphing-2.parquet of hydrofunctions 0.2.4",
    "source_sha256": SOURCE_SHA256,
}


def make(source: Path) -> pa.Table:
    """Make the sample from the published file.

    Raises
    ------
    ValueError
        The file is not the published one.
    """
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != SOURCE_SHA256:
        raise ValueError(
            f"{source} is not the published file: its SHA-256 is {found}, expected {SOURCE_SHA256}."
        )
    rows = pd.read_parquet(source).loc[START:END]
    columns = {"time": pa.array(rows.index, pa.timestamp("us", tz="UTC"))}
    for column, (_, published) in COLUMNS.items():
        measured = ~rows[f"{published}_qualifiers"].str.contains("hf.missing", regex=False)
        columns[column] = pa.array(rows[published].where(measured), from_pandas=True)
    return pa.table(columns, metadata=METADATA)


def fingerprint(table: pa.Table) -> str:
    """SHA-256 of everything that a table says: metadata, column names, types and values."""
    metadata = table.schema.metadata or {}
    said = {
        "metadata": {key.decode(): value.decode() for key, value in metadata.items()},
        "types": [[field.name, str(field.type)] for field in table.schema],
        "values": {
            name: [value.isoformat() if name == "time" else value for value in values]
            for name, values in table.to_pydict().items()
        },
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Make or check; return 0 when the sample is what the published file gives."""
    parser = argparse.ArgumentParser(description="Make the samples, or prove where they come from.")
    parser.add_argument("source", type=Path, help="the published file, graphing-2.parquet")
    parser.add_argument("--check", action="store_true", help="change nothing, compare by hash")
    options = parser.parse_args(arguments)

    sample = FOLDER / f"{NAME}.parquet"
    made = make(options.source)
    if options.check:
        expected, found = fingerprint(made), fingerprint(pq.read_table(sample))
        same = found == expected
        print(f"{sample.name}: {found}, {'as made' if same else f'but it is made as {expected}'}")
        return 0 if same else 1
    pq.write_table(made, sample, compression="zstd")
    print(f"{sample.name}: {made.num_rows} readings, {fingerprint(made)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
