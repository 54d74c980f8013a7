"""Other people's files become tables of readings, or an error names the column and row."""

from __future__ import annotations

import doctest
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.creek.readings import readers, samples
from creeklab.creek.readings.formats.parquet import read_nwis_parquet
from creeklab.creek.readings.formats.trout_creek import read_trout_creek
from creeklab.creek.readings.formats.usgs_rdb import read_rdb
from creeklab.creek.readings.readers import read_csv

PUBLISHED = samples.FOLDER.parents[2] / "shared" / "data"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "file"
        path.write_bytes(text.encode())
        return path

    return write


def at(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published files are not in the clone")
class TestThePublishedFiles:
    @pytest.mark.parametrize(
        ("read", "file", "sample"),
        [
            (read_rdb, "03287500_uv.txt", "kentucky-river-2014"),
            (read_nwis_parquet, "graphing-2.parquet", "plumtree-run-2016-2018"),
            (read_trout_creek, "Log00017.txt", "trout-creek-2021"),
            (read_trout_creek, "Log00035_mod_bridge_removal.txt", "trout-creek-2022"),
        ],
    )
    def test_they_yield_the_samples(
        self, read: Callable[[Path], pd.DataFrame], file: str, sample: str
    ) -> None:
        expected = samples.load(sample)
        readings = read(next(PUBLISHED.rglob(file)))
        pd.testing.assert_frame_equal(
            readings[list(expected)], expected, check_freq=False, check_exact=True
        )
        assert expected.attrs["units"].items() <= readings.attrs["units"].items()
        assert readings.attrs["license"] == expected.attrs["license"]

    def test_metadata_of_the_kentucky_river(self) -> None:
        about = read_rdb(PUBLISHED / "kentucky-river" / "03287500_uv.txt").attrs
        assert about["site"] == "USGS 03287500 KENTUCKY RIVER AT LOCK 4 AT FRANKFORT, KY"
        assert about["processing"].startswith("Converted to UTC by tz_cd; 77 interpolated values")
        assert about["codes"]["stage_ft"] == {"P": 6587, "P:h": 248, "P:~": 36}
        assert about["units"]["precipitation_in"] == "in"


HEAD = "# from the USGS\n#    USGS 03287500 KENTUCKY RIVER\nagency_cd\tsite_no\tdatetime\ttz_cd"
WIDTHS = "5s\t15s\t20d\t6s"


def rdb(*rows: str, columns: str = "\t07_00065\t07_00065_cd", widths: str = "\t14n\t10s") -> str:
    lines = [HEAD + columns, WIDTHS + widths, *(f"USGS\t03287500\t{row}" for row in rows)]
    return "\n".join(lines) + "\n"


class TestRdb:
    def test_each_row_is_converted_by_its_own_zone(self, write: Write) -> None:
        path = write(
            rdb(
                "2014-11-02 00:45\tEDT\t7.0\tP",
                "2014-11-02 01:45\tEDT\t7.1\tA",
                "2014-11-02 01:00\tEST\t7.2\tP:~",
                "2014-11-02 01:45\tEST\tEqp\tP",
                "2014-11-02 02:00\tEST\t\t",
            )
        )
        readings = read_rdb(path)
        assert [f"{time:%H:%M}" for time in readings.index] == [
            "04:45",
            "05:45",
            "06:00",
            "06:45",
            "07:00",
        ]
        np.testing.assert_array_equal(readings["stage_ft"], [7.0, 7.1, np.nan, np.nan, np.nan])
        assert readings.index.name == "time"
        assert readings.attrs["site"] == "USGS 03287500 KENTUCKY RIVER"
        assert "1 interpolated values (~) and 1 words" in readings.attrs["processing"]
        assert readings.attrs["codes"] == {"stage_ft": {"P": 2, "A": 1, "P:~": 1, "Eqp": 1}}

    def test_a_newer_file_from_another_zone(self, write: Write) -> None:
        columns = "\t69928_00065\t69928_00065_cd\t1_99999\t1_99999_cd"
        row = "2024-07-01 12:00\tMST\t1.5\tA\tx\tA"
        path = write(rdb(row, columns=columns, widths="\t14n\t10s" * 2))
        readings = read_rdb(path)
        assert list(readings) == ["stage_ft"]
        assert readings.index.tolist() == [at("2024-07-01 19:00")]

    def test_a_file_of_two_sites(self, write: Write) -> None:
        one = rdb("2014-01-01 00:00\tEST\t7\tP")
        other = rdb("2014-01-01 00:00\tEST\t2\tP", columns="\t9_00065\t9_00065_cd")
        path = write(one + other.replace("03287500", "01581752"))
        with pytest.raises(ValueError, match=r"2 sites \(01581752, 03287500\). Choose one"):
            read_rdb(path)
        assert read_rdb(path, site="01581752")["stage_ft"].tolist() == [2]
        assert read_rdb(path, site="USGS-03287500")["stage_ft"].tolist() == [7]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is empty"),
            ("# nothing but a head\n", "is empty"),
            (HEAD + "\n", "but no rows"),
            ("a,b\n1,2\n", "not an RDB file of instantaneous values.* This one has 'a,b'"),
            (rdb("2014-01-01 00:00\tEST\t7\tP").replace(WIDTHS, "USGS\t1\t2\t3"), "row of widths"),
            (rdb("2014-01-01 00:00\tCET\t7\tP"), "Row 0 has 'CET' in column 'tz_cd'"),
            (rdb("2014-01-01 00:00\t\t7\tP"), "Row 0 has nan in column 'tz_cd'"),
            (rdb("noon\tEST\t7\tP"), "Row 0 has 'noon' in column 'datetime'"),
            (rdb("\tEST\t7\tP"), "Row 0 has no time in column 'datetime'"),
            (
                rdb("2014-01-01 00:00\tEST\t7\tP", "2014-01-01 00:15\tEST\t7.x\tP"),
                r"'07_00065' has '7.x' in row 1 \(2014-01-01 05:15",
            ),
            (
                rdb("2014-01-01 00:00\tEST\t7\tP", "2014-01-01 00:00\tEST\t8\tP"),
                "'stage_ft' has more than one value at 2014-01-01 05:00",
            ),
            (rdb("2014-01-01\tEST\t1\tP", columns="\t1_99999\t1_99999_cd"), "none of the param"),
            (
                rdb(
                    "2014-01-01 00:00\tEST\t1\tP\t2\tP",
                    columns="\t1_00065\t1_00065_cd\t2_00065\t2_00065_cd",
                    widths="\t14n\t10s" * 2,
                ),
                "Parameter 00065 is in two columns, one of them '2_00065'",
            ),
            (rdb("2014-01-01 00:00\tEST\t7\tP") + "USGS\t2\t2014-01-01\tEST\t7\tP\n", "2 sites"),
        ],
    )
    def test_errors(self, write: Write, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            read_rdb(write(text))


class TestNwisParquet:
    def table(self, **columns: Any) -> pd.DataFrame:
        index = pd.date_range("2018-08-31 12:00", periods=3, freq="5min", tz="UTC")
        return pd.DataFrame({"USGS:01581752:" + name: of for name, of in columns.items()}, index)

    def test_an_interpolated_value_is_not_a_measurement(self, tmp_path: Path) -> None:
        rows = self.table(
            **{
                "00010:00000": [2.0, 3, 4],
                "00010:00000_qualifiers": ["A", "A,e", "P"],
                "00065:00000": [2.0, 3, 4],
                "00065:00000_qualifiers": ["A", "A,hf.missing", None],
                "72019:00000": [1.0, 1, 1],
            }
        )
        rows.tz_convert("America/New_York").to_parquet(tmp_path / "file")
        readings = read_nwis_parquet(tmp_path / "file")
        assert list(readings) == ["stage_ft", "water_temperature_degC"]
        np.testing.assert_array_equal(readings["stage_ft"], [2, np.nan, 4])
        assert readings["water_temperature_degC"].tolist() == [2, 3, 4]
        assert readings.index[0] == at("2018-08-31 12:00")
        assert readings.attrs["site"] == "USGS 01581752"

    def test_errors(self, tmp_path: Path) -> None:
        for rows in (
            self.table(**{"72019:00000": [1, 1, 1]}),
            self.table(**{"00065:00000": [1, 1, 1]}).rename(columns=str.lower),
        ):
            rows.to_parquet(tmp_path / "file")
            with pytest.raises(ValueError, match="is not a file of a USGS site: it has"):
                read_nwis_parquet(tmp_path / "file")

    def test_two_sites(self, tmp_path: Path) -> None:
        rows = self.table(**{"00065:00000": [1, 2, 3]}).assign(**{"USGS:01:00065:00000": 9.0})
        rows.to_parquet(tmp_path / "file")
        with pytest.raises(ValueError, match=r"2 sites \(01, 01581752\).* --site 01 "):
            read_nwis_parquet(tmp_path / "file")
        readings = read_nwis_parquet(tmp_path / "file", site="01581752")
        assert readings["stage_ft"].tolist() == [1, 2, 3]
        with pytest.raises(ValueError, match="no site '02', only 01, 01581752"):
            read_nwis_parquet(tmp_path / "file", site="02")

    def test_only_instantaneous_values_are_readings(self, tmp_path: Path) -> None:
        daily = {f"00065:0000{n}": [float(n)] * 3 for n in (1, 2, 3)}
        self.table(**{"00065:00000": [7, 8, 9], **daily}).to_parquet(tmp_path / "file")
        assert read_nwis_parquet(tmp_path / "file")["stage_ft"].tolist() == [7, 8, 9]
        self.table(**daily).to_parquet(tmp_path / "file")
        with pytest.raises(ValueError, match=r"only 00001 \(daily maximum\), 00002 .*statistic="):
            read_nwis_parquet(tmp_path / "file")
        readings = read_nwis_parquet(tmp_path / "file", statistic="00003")
        assert readings["stage_ft"].tolist() == [3, 3, 3]


class TestTroutCreek:
    head = (
        "Lib = 0.3.0 SN = 1\r\nTime [UTC], PresOB [mBar], TempOB [C], Range [cm],Pitch [deg],\r\n"
    )

    def test_stage_is_a_constant_minus_the_range(self, write: Write) -> None:
        path = write(
            self.head + "2021/08/17 18:13:06,990.44,66.42,375.00,91.11,\r\n"
            "2021/08/17 18:14:00,990.42, NAN,344.52,91.19,\r\n"
        )
        readings = read_trout_creek(path)
        assert readings.index.tolist() == [at("2021-08-17 18:13:06"), at("2021-08-17 18:14:00")]
        assert readings["stage_ft"].tolist() == [0, 1]
        np.testing.assert_array_equal(readings["box_temperature_degC"], [66.42, np.nan])
        assert readings.attrs["datum"].startswith("stage_ft = (375 - range_cm)")
        assert read_trout_creek(path, 405.48)["stage_ft"].tolist() == [1, 2]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is empty"),
            (head, "but no rows"),
            ("a\nb\n1\n", "not a log of the Trout Creek gage: it has no column 'Time \\[UTC\\]'"),
            (head + "2021-08-17 18:13:06,1,2,3,4,\n", "Row 0 has '2021-08-17 18:13:06' in column"),
            (head + "2021/08/17 18:13:06,1,2,?,4,\n", r"'Range \[cm\]' has '\?' in row 0"),
        ],
    )
    def test_errors(self, write: Write, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            read_trout_creek(write(text))


METERS = {"stage_ft": ("Level (m)", "m")}


def rows(*lines: str, head: str = "when,Level (m)") -> str:
    return "\n".join([head, *lines]) + "\n"


class TestCsv:
    @pytest.mark.parametrize(
        ("name", "unit", "value", "column", "expected"),
        [
            ("Level (m)", "m", "0.3048", "stage_ft", 1),
            ("Level [cm]", "cm", "30.48", "stage_ft", 1),
            ("Level", "ft", "1.5", "stage_ft", 1.5),
            ("Level (feet)", "ft", "1.5", "stage_ft", 1.5),
            ("Temp (°F)", "degF", "68", "water_temperature_degC", 20),
            ("Temp, °C", "degC", "20", "barn_degC", 20),
            ("Flow (cfs)", "ft3/s", "3", "discharge_ft3_s", 3),
            ("Level", "inches", "18", "stage_ft", 1.5),
            ("Water Level, meters (LGR S/N: 1)", "m", "0.3048", "stage_ft", 1),
        ],
    )
    def test_units(
        self, write: Write, name: str, unit: str, value: str, column: str, expected: float
    ) -> None:
        path = write(f'when,"{name}"\n2018-08-31 12:00Z,{value}\n')
        readings = read_csv(path, {column: (name, unit)}, time="when")
        assert readings[column].tolist() == [expected]
        assert readings.attrs["processing"] == f"{column} from {name!r} in {unit}"

    @pytest.mark.parametrize(
        ("times", "zone", "format"),
        [
            (["2018-08-31T12:00:00Z", "2018-08-31T12:05:00Z"], None, None),
            (["2018-08-31 08:00", "2018-08-31 08:05"], "America/New_York", None),
            (["2018-08-31 07:00", "2018-08-31 07:05"], "Etc/GMT+5", None),
            (["2018-08-31 08:00-04:00", "2018-08-31 12:05+00:00"], None, None),
            (["31.08.2018 12:00", "31.08.2018 12:05"], "UTC", "%d.%m.%Y %H:%M"),
            (["08/31/18 8:00 AM -0400", "08/31/18 7:05 AM -0500"], None, "%m/%d/%y %I:%M %p %z"),
        ],
    )
    def test_times(
        self, write: Write, times: list[str], zone: str | None, format: str | None
    ) -> None:
        path = write(rows(*(f"{time},1" for time in times)))
        readings = read_csv(path, METERS, time="when", zone=zone, format=format)
        assert readings.index.tolist() == [at("2018-08-31 12:00"), at("2018-08-31 12:05")]
        assert readings.index.name == "time"

    def test_a_logger_from_another_country(self, write: Write) -> None:
        path = write("Logger 7\nZeit;Pegel\n31.08.2018 12:00;0,3048\n31.08.2018 12:05;-9999\n")
        readings = read_csv(
            path,
            {"stage_ft": ("Pegel", "m")},
            time="Zeit",
            zone="UTC",
            format="%d.%m.%Y %H:%M",
            metadata={"source": "me", "processing": "as logged"},
            sep=";",
            decimal=",",
            skiprows=1,
            na_values=["-9999"],
        )
        np.testing.assert_array_equal(readings["stage_ft"], [1, np.nan])
        assert readings.attrs["source"] == "me"

    def test_other_marks(self, write: Write) -> None:
        """1.234 cm are 1234 cm if the dot divides thousands, and an error quotes the file."""
        path = write("when;Pegel\n2018-08-31 12:00Z;1.234,5\n2018-08-31 12:05Z;999,9\n")
        columns = {"stage_ft": ("Pegel", "cm")}
        marks = {"sep": ";", "decimal": ",", "thousands": "."}
        readings = read_csv(path, columns, time="when", **marks)
        np.testing.assert_allclose(readings["stage_ft"] * 30.48, [1234.5, 999.9])
        path = write("when;Pegel\n2018-08-31 12:00Z;1.23\n")
        with pytest.raises(ValueError, match=r"'Pegel' has '1.23' in row 0 .*, which is not a num"):
            read_csv(path, columns, time="when", **marks)

    def test_options_that_convert_are_rejected(self, write: Write) -> None:
        path = write(rows("2018-08-31 12:00Z,1"))
        for option in ("parse_dates", "dtype", "converters", "chunksize", "index_col"):
            with pytest.raises(ValueError, match=f"does not take '{option}'.* thousands"):
                read_csv(path, METERS, time="when", **{option: "when"})

    @pytest.mark.parametrize("fill", ["-9999", "-9999.00", "7999", "9999", "999", "-99999"])
    def test_fill_values_are_left_out_with_a_warning(self, write: Write, fill: str) -> None:
        stages = ["0.31", "0.32", fill, "0.35", fill, "1.9"]
        lines = [f"2018-08-31 12:{5 * n:02}Z,{value}" for n, value in enumerate(stages)]
        path = write(rows(*lines))
        with pytest.warns(UserWarning, match=rf"'Level \(m\)' has {float(fill):g} in 2 rows"):
            readings = read_csv(path, METERS, time="when")
        assert readings["stage_ft"].max() == pytest.approx(1.9 / 0.3048)
        assert readings["stage_ft"].isna().sum() == 2
        assert f"2 fill values {float(fill):g}" in readings.attrs["processing"]
        # Known to the caller, they are left out without a warning, however they are written.
        announced = read_csv(path, METERS, time="when", na_values=float(fill))
        pd.testing.assert_frame_equal(announced, readings)

    def test_a_value_among_others_is_not_a_fill_value(self, write: Write) -> None:
        lines = [f"2018-08-31 12:{n:02}Z,{990 + 3 * n}" for n in range(8)]
        readings = read_csv(write(rows(*lines)), METERS, time="when")
        assert readings["stage_ft"].notna().all()

    def test_one_sensor_of_a_long_table(self, write: Write) -> None:
        lines = [
            "sensor.creek_depth,0.3048,2018-08-31T12:00:00.000Z",
            "sensor.creek_temperature,20.5,2018-08-31T12:00:03.000Z",
            "sensor.creek_depth,0.6096,2018-08-31T12:05:00.000Z",
            "sensor.creek_temperature,20.4,2018-08-31T12:05:03.000Z",
        ]
        path = write(rows(*lines, head="entity_id,state,last_changed"))
        columns = {"stage_ft": ("state", "m")}
        with pytest.raises(ValueError, match=r"several sensors: column 'entity_id' has .*where="):
            read_csv(path, columns, time="last_changed")
        where = {"entity_id": "sensor.creek_depth"}
        readings = read_csv(path, columns, time="last_changed", where=where)
        assert readings["stage_ft"].tolist() == [1, 2]
        with pytest.raises(ValueError, match=r"No row of .* has 'sensor\.rain' in column"):
            read_csv(path, columns, time="last_changed", where={"entity_id": "sensor.rain"})

    def test_the_order_of_the_rows_resolves_the_hour_that_happens_twice(self, write: Write) -> None:
        night = pd.date_range("2018-11-04 04:00", periods=16, freq="15min", tz="UTC")
        local = night.tz_convert("America/New_York").tz_localize(None)
        path = write(rows(*(f"{time},{n / 10}" for n, time in enumerate(local))))
        with pytest.raises(ValueError, match="pass ambiguous='infer'"):
            read_csv(path, METERS, time="when", zone="America/New_York")
        readings = read_csv(path, METERS, time="when", zone="America/New_York", ambiguous="infer")
        assert readings.index.equals(night.as_unit("us"))

    def test_an_order_that_does_not_resolve_it(self, write: Write) -> None:
        path = write(rows("2018-11-04 01:15,1", "2018-11-04 01:30,2"))
        with pytest.raises(ValueError, match="order of the rows does not tell"):
            read_csv(path, METERS, time="when", zone="America/New_York", ambiguous="infer")

    @pytest.mark.parametrize(
        ("zone", "advice"),
        [
            ("EDT", r"'America/New_York' if .* 'Etc/GMT\+4' if the logger stays on EDT"),
            ("est", r"'America/New_York' if .* 'Etc/GMT\+5'"),
            ("CEST", r"'Europe/Berlin' if .* 'Etc/GMT-2'"),
            ("Harford County", "Use a name such as America/New_York"),
        ],
    )
    def test_abbreviations_are_not_zones(self, write: Write, zone: str, advice: str) -> None:
        with pytest.raises(ValueError, match=f"no time zone '{zone}'.*{advice}"):
            read_csv(write(rows("2018-08-31 12:00,1")), METERS, time="when", zone=zone)

    def test_epoch_times(self, write: Write) -> None:
        path = write(rows("1535716800,1", "1535717100,2"))
        with pytest.raises(ValueError, match="pass format='epoch seconds' if these are seconds"):
            read_csv(path, METERS, time="when", zone="UTC")
        readings = read_csv(path, METERS, time="when", format="epoch seconds")
        assert readings.index.tolist() == [at("2018-08-31 12:00"), at("2018-08-31 12:05")]
        with pytest.raises(ValueError, match="Row 0 has 1535716800, which is 1970-01-18"):
            read_csv(path, METERS, time="when", format="epoch milliseconds")

    @pytest.mark.parametrize(
        ("lines", "stages", "said"),
        [
            (["2018-08-31,0.3048"], [1], ""),
            (["2018-08-31 12:00,", "2018-08-31 12:05, "], [np.nan, np.nan], ""),
            (["2018-08-31 12:05,0.6096", "2018-08-31 12:00,0.3048"], [1, 2], "sorted by time: 1"),
            (["2018-08-31 12:05,0.3048"] * 2, [1], "1 rows that repeated a time"),
            (["2018-08-31 12:05,", "2018-08-31 12:05,0.3048"], [1], "1 rows that repeated a time"),
            (["2018-08-31 12:05,-0.3048"], [-1], "1 stages below the datum"),
        ],
        ids=["one row", "nothing measured", "unsorted", "twice", "completed", "negative"],
    )
    def test_repairs(self, write: Write, lines: list[str], stages: list[float], said: str) -> None:
        readings = read_csv(write(rows(*lines)), METERS, time="when", zone="UTC")
        np.testing.assert_array_equal(readings["stage_ft"], stages)
        assert said in readings.attrs["processing"]
        samples.times(readings)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is empty"),
            (rows(), "has a header \\('when', 'Level \\(m\\)'\\) but no rows"),
            ("a\n1\n", "no column 'when' in .*, only 'a'"),
            ("when\n2018\n", "no column 'Level \\(m\\)' in .*, only 'when'"),
            (rows("2018-08-31 12:00,dry"), r"'Level \(m\)' has 'dry' in row 0 \(2018-08-31 16:00"),
            (rows("2018-08-31 12:00,1", '2018-08-31 12:05,"1,5"'), "has '1,5' in row 1"),
            (rows("2018-08-31 12:00,NAN"), "has 'NAN' in row 0"),
            (rows("2018-08-31 12:00,inf"), r"'Level \(m\)' is infinite in row 0"),
            (rows("31/08/2018,1"), "Row 0 has '31/08/2018' in column 'when', .* pass format"),
            (rows("20180831,1"), "Row 0 has '20180831' in column 'when'"),
            (rows("2018-08-31 12:00,1", ",2"), "Row 1 has no time in column 'when'"),
            (rows("2018-13-31 12:00,1"), "Row 0 has '2018-13-31 12:00'"),
            (rows("2018-08-31 12:00,1", "2018-08-31 12:05Z,2"), "Row 0 .* has no time zone, but"),
            (
                rows("2018-08-31 12:00,1", "2018-11-04 01:30,1"),
                r"Row 1 \(2018-11-04 01:30:00\) happens twice or never",
            ),
            (
                rows("2018-08-31 12:00,1", "2018-08-31 12:00,2"),
                "'stage_ft' has more than one value at 2018-08-31 16:00",
            ),
            (rows("2018-08-31 12:00,1,2", "2018,1,2,3"), "cannot be read as a table"),
        ],
    )
    def test_errors(self, write: Write, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            read_csv(write(text), METERS, time="when", zone="America/New_York")

    def test_times_without_a_zone(self, write: Write) -> None:
        for format in (None, "%Y-%m-%d %H:%M"):
            with pytest.raises(ValueError, match=r"have no time zone .* zone='UTC'"):
                read_csv(write(rows("2018-08-31 12:00,1")), METERS, time="when", format=format)

    def test_a_time_that_does_not_match_the_format(self, write: Write) -> None:
        path = write(rows("01.09.2018,1", "31.09.2018,1"))
        with pytest.raises(ValueError, match=r"Row 1 has '31.09.2018' in column 'when', .* '%d.%m"):
            read_csv(path, METERS, time="when", zone="UTC", format="%d.%m.%Y")

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({}, "No columns are given"),
            ({"stage_ft": ("Level (m)", "ft")}, r"'Level \(m\)' says m, not ft"),
            ({"stage_ft": ("Level (m)", "degC")}, "'stage_ft' is a length in ft"),
            ({"stage_ft": ("Level (m)", "fathoms")}, "'fathoms', for column 'stage_ft', is no"),
            ({"stage": ("Level (m)", "m")}, "'stage' does not end in a unit"),
            ({"stage_ft": ("Level (m)", "psi")}, "'psi' is the unit of a pressure. A pressure bec"),
            ({"stage_ft": ("Level (m)", "kPa")}, "pressure of the air has been subtracted"),
        ],
    )
    def test_wrong_units(
        self, write: Write, columns: dict[str, tuple[str, str]], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            read_csv(write(rows("2018-08-31 12:00Z,1")), columns, time="when")


@pytest.mark.parametrize(
    ("heading", "named"),
    [
        ("Stage cm", "cm"),
        ("depth_cm", "cm"),
        ("Water Level, meters (LGR S/N: 20123456)", "m"),
        ("Gage height, feet", "ft"),
        ("Depth in", "in"),
        ("Range mm raw", "mm"),
        ("Wasserstand cm ü. PNP", "cm"),
    ],
)
def test_a_unit_in_a_heading_is_checked_wherever_it_stands(
    write: Write, heading: str, named: str
) -> None:
    path = write(f'when,"{heading}"\n2018-08-31 12:00Z,1\n')
    wrong = "m" if named != "m" else "ft"
    with pytest.raises(ValueError, match=f"says {named}, not {wrong}. Pass '{named}'"):
        read_csv(path, {"stage_ft": (heading, wrong)}, time="when")
    assert len(read_csv(path, {"stage_ft": (heading, named)}, time="when")) == 1


instants = st.lists(
    # Minutes of two years with daylight saving time, some of them when the clocks change.
    st.integers(0, 2 * 366 * 24 * 60)
    | st.sampled_from([43_200 + 60 * h for h in range(2000, 2100)]),
    min_size=1,
    max_size=5,
    unique=True,
).map(
    lambda minutes: pd.DatetimeIndex(
        pd.Timestamp("2018-01-01", tz="UTC") + pd.to_timedelta(sorted(minutes), unit="min")
    ).as_unit("us")
)
zones = st.sampled_from(
    ["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata"]
)


class TestNoZoneShiftsAReading:
    @given(instants, zones)
    def test_times_with_their_offset(self, index: pd.DatetimeIndex, zone: str) -> None:
        lines = [f"{time.isoformat()},1" for time in index.tz_convert(zone)]
        readings = read_csv(io.StringIO(rows(*lines)), METERS, time="when")
        assert readings.index.equals(index)

    @given(instants, zones)
    def test_local_times_or_an_error_if_they_are_ambiguous(
        self, index: pd.DatetimeIndex, zone: str
    ) -> None:
        local = index.tz_convert(zone).tz_localize(None)
        file = io.StringIO(rows(*(f"{time},1" for time in local)))
        if local.tz_localize(zone, ambiguous="NaT").hasnans:
            with pytest.raises(ValueError, match="happens twice or never"):
                read_csv(file, METERS, time="when", zone=zone)
        else:
            assert read_csv(file, METERS, time="when", zone=zone).index.equals(index)

    @given(instants)
    def test_usgs_rows(self, index: pd.DatetimeIndex) -> None:
        local = index.tz_convert("America/New_York")
        lines = [f"{time:%Y-%m-%d %H:%M}\t{time:%Z}\t1.5\tA" for time in local]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "file")
            path.write_text(rdb(*lines))
            assert read_rdb(path).index.equals(index)


def test_the_example() -> None:
    assert doctest.testmod(readers, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0
