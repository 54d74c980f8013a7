"""Make the samples in this folder from the published files, or verify them against those files.

    python data/samples/make_samples.py FOLDER            makes all samples
    python data/samples/make_samples.py FOLDER --check    changes nothing, compares

FOLDER holds the published files, at any depth. Each file is identified by its SHA-256, so a sample
is never made from the wrong file. Samples are compared by the SHA-256 of their content (column
names, types, values, metadata) and not of their bytes, because a different version of pyarrow can
store the same table in different bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from creeklab.creek.readings.formats.parquet import read_nwis_parquet
from creeklab.creek.readings.formats.trout_creek import read_trout_creek
from creeklab.creek.readings.formats.usgs_rdb import read_rdb

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Published:
    """A published file: its name, its place of publication and its SHA-256."""

    name: str
    where: str
    sha256: str

    def find(self, folder: Path) -> Path:
        """Return the path of the file in a folder, at any depth.

        Raises
        ------
        FileNotFoundError
            If no file has its name.
        ValueError
            If the file with its name has different content.
        """
        paths = sorted(folder.rglob(self.name))
        if not paths:
            raise FileNotFoundError(
                f"Found no {self.name} in {folder} or below it. Put the published file there:"
                f" {self.where}."
            )
        found = hashlib.sha256(paths[0].read_bytes()).hexdigest()
        if found != self.sha256:
            raise ValueError(
                f"{paths[0]} is not the published file: its SHA-256 is {found}, expected"
                f" {self.sha256}. Replace it with an unchanged copy."
            )
        return paths[0]


@dataclass(frozen=True)
class Sample:
    """A sample: its published file, the function that reads it, and its units and metadata.

    ``read`` returns a table indexed by time (UTC) that has the columns in ``units``.
    """

    name: str
    published: Published
    read: Callable[[Path], pd.DataFrame]
    units: dict[str, str]
    metadata: dict[str, str]

    def make(self, folder: Path) -> pa.Table:
        """Return the sample's table, made from the published file in a folder."""
        readings = self.read(self.published.find(folder))
        columns = {"time": pa.array(readings.index, pa.timestamp("us", tz="UTC"))}
        for column in self.units:
            columns[column] = pa.array(readings[column], pa.float64(), from_pandas=True)
        metadata = {
            **self.metadata,
            "units": json.dumps(self.units),
            "source_file": self.published.where,
            "source_sha256": self.published.sha256,
        }
        return pa.table(columns, metadata=metadata)

    @property
    def file(self) -> Path:
        """Path of the sample in this folder."""
        return FOLDER / f"{self.name}.parquet"


# --- Plumtree Run: USGS, through hydrofunctions ---------------------------------------------------

PLUMTREE = Published(
    "graphing-2.parquet",
    "docs/notebooks/graphing-2.parquet of hydrofunctions 0.2.4",
    "6e51991129f0d07466d679214ca6fd69002580440e13030d9245a6a38e41221d",
)
PLUMTREE_SITE = {
    "site": "USGS 01581752 Plumtree Run near Bel Air, Maryland (39.496 N, 76.347 W)",
    "source": "U.S. Geological Survey, National Water Information System",
    "license": "Public domain (work of the United States government)",
    "datum": (
        "stage_ft is the gage height above the station's own datum: it need not be the depth over"
        " the bed of the creek, and the elevation of the datum is not in the published file"
    ),
    "time_zone": "UTC",
}
NOT_MEASURED = (
    "values whose qualifier contains hf.missing were interpolated at publication, not measured,"
    " and are left empty"
)


def plumtree_flood(name: str, title: str, start: str, end: str) -> Sample:
    """Return the sample of one flood at Plumtree Run, from start to end inclusive (UTC)."""
    return Sample(
        name,
        PLUMTREE,
        lambda path: read_nwis_parquet(path).loc[start:end],
        {"stage_ft": "ft", "water_temperature_degC": "degC"},
        {
            "title": title,
            **PLUMTREE_SITE,
            "processing": (
                f"Rows from {start} to {end} UTC inclusive; gage height (USGS parameter 00065) and"
                f" water temperature (00010) kept and renamed; {NOT_MEASURED} (none in these rows);"
                " values unchanged; all values are approved (A)"
            ),
        },
    )


# --- Trout Creek: a homemade gage with a lidar ---------------------------------------------------


def trout_deployment(year: int, published: Published, months: str, constant: int) -> Sample:
    """Return the sample of one deployment of the gage."""
    return Sample(
        f"trout-creek-{year}",
        published,
        lambda path: read_trout_creek(path, constant),
        {"stage_ft": "ft", "range_cm": "cm", "box_temperature_degC": "degC"},
        {
            "title": f"Trout Creek, {months} {year}",
            "site": "Trout Creek, Minnesota: a homemade stream gage on a bridge",
            "source": "Wickert et al. (2022), Trout Creek stream gauge, doi 10.5281/zenodo.7192005",
            "license": "CC BY 4.0 (cite the source; changes are listed under processing)",
            "datum": (
                f"stage_ft = ({constant} - range_cm) / 30.48. {constant} cm is the largest range"
                " of this deployment: 0 ft is the lowest water level that the lidar measured in it,"
                " noise included. It is not a surveyed datum. The gage was remounted for each"
                " deployment, so stages of different deployments cannot be compared"
            ),
            "time_zone": "UTC",
            "processing": (
                "All rows; range down to the water (lidar) and temperature inside the logger box"
                " (TempOB, neither air nor water temperature) kept and renamed; NAN left empty;"
                " stage computed from range as described under datum, rounded to 0.001 ft; nothing"
                " smoothed: the noise of about 3 cm is the sensor's"
            ),
        },
    )


# --- Kentucky River: USGS, as text ----------------------------------------------------------------

KENTUCKY = Published(
    "03287500_uv.txt",
    "03287500_uv.txt, retrieved from the USGS on 2014-03-13",
    "c5e2af74a81ec0fe25b1752618a4b2dd238adaca29104aaca6f8667945920447",
)

# --- All samples ----------------------------------------------------------------------------------

SAMPLES = [
    Sample(
        "plumtree-run-2016-2018",
        PLUMTREE,
        read_nwis_parquet,
        {"stage_ft": "ft", "water_temperature_degC": "degC", "discharge_ft3_s": "ft3/s"},
        {
            "title": "Plumtree Run, 2016 to 2018",
            **PLUMTREE_SITE,
            "processing": (
                "All rows, 2016-01-01 05:00 to 2019-01-01 04:55 UTC; gage height (USGS parameter"
                " 00065), water temperature (00010) and discharge (00060) kept and renamed;"
                f" {NOT_MEASURED} (9690 of stage, 8024 of temperature, 10146 of discharge); other"
                " values unchanged; all values of stage and discharge are approved (A), 353 of"
                " discharge are estimates (e), and 7932 of temperature are provisional (P)"
            ),
        },
    ),
    plumtree_flood(
        "plumtree-run-flood-2018-08-31",
        "Flood of August 31, 2018, at Plumtree Run",
        "2018-08-31 12:00",
        "2018-09-02 12:00",
    ),
    plumtree_flood(
        "plumtree-run-flood-2018-09-09",
        "Flood of September 9, 2018, at Plumtree Run",
        "2018-09-09 00:00",
        "2018-09-11 00:00",
    ),
    trout_deployment(
        2021,
        Published(
            "Log00017.txt",
            "Log00017.txt of doi 10.5281/zenodo.7192005",
            "8404dd36ab7c121d060a3d668066ce01e06847343c47a78ce7bf1065a4b95094",
        ),
        "August to October",
        382,
    ),
    trout_deployment(
        2022,
        Published(
            "Log00035_mod_bridge_removal.txt",
            "Log00035_mod_bridge_removal.txt of doi 10.5281/zenodo.7192005",
            "edd75d8f4f425da565b3d6b350da33dafccd23ff97f36ec450290a78b77e606d",
        ),
        "May to September",
        383,
    ),
    Sample(
        "kentucky-river-2014",
        KENTUCKY,
        read_rdb,
        {"stage_ft": "ft", "water_temperature_degC": "degC", "discharge_ft3_s": "ft3/s"},
        {
            "title": "Kentucky River at Frankfort, January to March 2014",
            "site": "USGS 03287500 Kentucky River at Lock 4 at Frankfort, Kentucky",
            "source": "U.S. Geological Survey, National Water Information System",
            "license": "Public domain (work of the United States government)",
            "datum": (
                "stage_ft is the gage height above the station's own datum, whose elevation is not"
                " in the published file; it is not the depth over the bed of the river"
            ),
            "time_zone": (
                "UTC; published in local time, and each row converted with its own zone: EST is"
                " UTC-5; EDT, from 2014-03-09 07:00 UTC on, is UTC-4"
            ),
            "processing": (
                "All rows; gage height (USGS parameter 00065), water temperature (00010) and"
                " discharge (00060) kept and renamed; precipitation omitted; values marked ~ were"
                " interpolated by the USGS's system, not measured, and are left empty; other values"
                " unchanged; all values are provisional (P)"
            ),
        },
    ),
]


def fingerprint(table: pa.Table) -> str:
    """Return the SHA-256 of a table's content: metadata, column names, types and values."""
    metadata = table.schema.metadata or {}
    said = {
        "metadata": {key.decode(): value.decode() for key, value in metadata.items()},
        "types": [[field.name, str(field.type)] for field in table.schema],
        "rows": table.num_rows,
    }
    total = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for column in table.columns:
        # Eight little-endian bytes per value, and one byte that says whether it is present.
        kind = "<i8" if pa.types.is_timestamp(column.type) else "<f8"
        numbers = column.cast(pa.int64()) if kind == "<i8" else column
        there = ~column.is_null().to_numpy()
        values = numbers.fill_null(0).to_numpy().astype(kind)
        total.update(there.astype(np.uint8).tobytes() + values.tobytes())
    return total.hexdigest()


def write(table: pa.Table, path: Path) -> None:
    """Write a sample in a small file: times as differences, values as dictionary indexes."""
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in table.column_names if name != "time"],
        column_encoding={"time": "DELTA_BINARY_PACKED"},
    )


def check(sample: Sample, folder: Path) -> bool:
    """Return whether a sample is what its published file yields, and print the result."""
    expected = fingerprint(sample.make(folder))
    found = fingerprint(pq.read_table(sample.file)) if sample.file.exists() else "missing"
    same = found == expected
    print(f"{sample.file.name}: {found}, {'as expected' if same else f'expected {expected}'}")
    return same


def main(arguments: list[str] | None = None) -> int:
    """Make or check the samples; return 0 if every sample is what its published file yields."""
    parser = argparse.ArgumentParser(description="Make the samples, or verify them.")
    parser.add_argument("folder", type=Path, help="folder of the published files, at any depth")
    parser.add_argument("--check", action="store_true", help="change nothing; compare by hash")
    options = parser.parse_args(arguments)
    if options.check:
        same = [check(sample, options.folder) for sample in SAMPLES]
        return 0 if all(same) else 1
    for sample in SAMPLES:
        made = sample.make(options.folder)
        write(made, sample.file)
        print(f"{sample.file.name}: {made.num_rows} readings, {fingerprint(made)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
