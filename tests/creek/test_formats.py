"""Each format is recognized by its own first lines, and read without a wrong stage.

The files in ``files`` follow the published layouts. Most hold the same flood: 1, 3, 6 and 2 ft.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from creeklab.creek.readings import samples
from creeklab.creek.readings.building import Choices
from creeklab.creek.readings.formats import FORMATS, read_file, recognize

FILES = Path(__file__).parent / "files"
NOON = pd.Timestamp("2018-08-31 12:00", tz="UTC")
EASTERN = Choices(zone="America/New_York")
FLOOD = [1, 3, 6, 2]
IN_FEET = Choices(stage=("field1", "ft"))
DEPTH = Choices(stage=("state", "ft"), where={"entity_id": "sensor.creek_depth"})


@pytest.mark.parametrize(
    ("file", "name", "choices", "stages", "temperature"),
    [
        ("usgs.rdb", "USGS download (RDB)", Choices(), FLOOD, None),
        ("solinst.csv", "Solinst Levelogger CSV", EASTERN, FLOOD, 20.112),
        ("solinst.xle", "Solinst Levelogger XLE", EASTERN, FLOOD, 20.112),
        ("campbell.dat", "Campbell TOA5", EASTERN, [1, 3, np.nan, 6, 2], 20.11),
        ("in-situ.csv", "In-Situ export", Choices(), FLOOD, 20.11),
        ("environment-agency.csv", "Environment Agency CSV", Choices(), FLOOD, None),
        (
            "environment-agency-hydrology.csv",
            "Environment Agency CSV",
            Choices(),
            [1, 3, 6, np.nan],
            None,
        ),
        ("thingspeak.csv", "ThingSpeak export", IN_FEET, FLOOD, None),
        ("adafruit-io.csv", "Adafruit IO export", Choices(stage=("value", "ft")), FLOOD, None),
        ("home-assistant.csv", "Home Assistant export", DEPTH, [1, 3, np.nan, 6, 2], None),
        ("messages.jsonl", "messages in JSON", Choices(), FLOOD, 20),
        ("mosquitto.txt", "messages in JSON", Choices(), FLOOD, 20),
        ("firehose.json", "messages in JSON", Choices(), FLOOD, 20),
    ],
)
def test_a_flood(
    file: str, name: str, choices: Choices, stages: list[float], temperature: float | None
) -> None:
    path = FILES / file
    assert recognize(path).name == name
    readings = read_file(path, choices)
    np.testing.assert_array_equal(readings["stage_ft"], stages)
    samples.times(readings)
    assert readings.index[0] == NOON
    if temperature is None:
        assert "water_temperature_degC" not in readings
    else:
        assert readings["water_temperature_degC"].iloc[0] == pytest.approx(temperature)


def test_every_format_recognizes_only_its_own_files() -> None:
    """No earlier format takes the file of a later one; the last one is any table."""
    for path in sorted(FILES.iterdir()):
        head = path.read_bytes()[:16_384].decode("utf-8-sig", errors="replace")
        matching = [each.name for each in FORMATS if each.matches(head)]
        assert [each for each in matching if each != "table with a heading"] == [
            recognize(path).name
        ], path.name


class TestHobo:
    def test_a_logger_out_of_the_water(self) -> None:
        with pytest.warns(UserWarning, match="in 2 rows the logger measured the pressure of the"):
            readings = read_file(FILES / "hobo.csv")
        assert readings.index[0] == pd.Timestamp("2018-08-31 11:30", tz="UTC")
        meters = readings["stage_ft"] * 0.3048
        np.testing.assert_allclose(
            meters, [np.nan, 0.312, 0.313, 0.944, 1.717, 1.243, 0.379, np.nan]
        )
        assert readings["water_temperature_degC"].iloc[0] == 24.448
        assert "1 rows without a measurement" in readings.attrs["processing"]

    def hobo(self, tmp_path: Path, old: str, new: str) -> Path:
        text = (FILES / "hobo.csv").read_text()
        path = tmp_path / "hobo.csv"
        path.write_text(re.sub(old, new, text))
        return path

    def test_one_column_of_time(self, tmp_path: Path) -> None:
        path = self.hobo(tmp_path, '"Date","Time, GMT', '"Date Time, GMT')
        path.write_text(path.read_text().replace("/18,", "/18 "))
        with pytest.warns(UserWarning, match="out of the water"):
            assert read_file(path).index[0] == pd.Timestamp("2018-08-31 11:30", tz="UTC")

    def test_absolute_pressure_is_not_a_stage(self, tmp_path: Path) -> None:
        path = self.hobo(tmp_path, "Water Level, meters", "Voltage, V")
        with pytest.raises(ValueError, match=r"has no water level.*Barometric Compensation"):
            read_file(path)

    def test_a_day_that_may_be_a_month(self, tmp_path: Path) -> None:
        path = self.hobo(tmp_path, "08/31/18", "03/04/18")
        with pytest.raises(ValueError, match=r"may be %m/%d/%y.* or %d/%m/%y.*--time-format"):
            read_file(path)
        with pytest.warns(UserWarning, match="out of the water"):
            readings = read_file(path, Choices(time_format="%d/%m/%y %I:%M:%S %p"))
        assert readings.index[0] == pd.Timestamp("2018-04-03 11:30", tz="UTC")

    def test_the_whole_column_tells_the_format(self, tmp_path: Path) -> None:
        """Read month-first, three days in March would be three days a month apart."""
        times = pd.date_range("2018-04-03", "2018-04-05 23:00", freq="1h")
        lines = [f"{n},{time:%d/%m/%y %H:%M:%S},1.{n:02}" for n, time in enumerate(times)]
        head = '"#","Date Time, GMT+01:00","Water Level, meters (LGR S/N: 1)"'
        path = tmp_path / "day-first.csv"
        path.write_text("\n".join([head, *lines]) + "\n")
        assert read_file(path).index[0] == pd.Timestamp("2018-04-02 23:00", tz="UTC")


class TestUsgsWaterData:
    @pytest.mark.parametrize("file", ["usgs-water-data.csv", "usgs-water-data.json"])
    def test_qualifiers_become_flags(self, file: str) -> None:
        readings = read_file(FILES / file)
        np.testing.assert_array_equal(readings["stage_ft"], [1.52, 1.53, np.nan, 1.49])
        assert readings["stage_qualifier"].tolist() == ["ICE", "ICE,ESTIMATED", "EQUIP", ""]
        assert readings.attrs["site"] == "USGS 01581752"

    def test_discharge(self) -> None:
        readings = read_file(FILES / "usgs-water-data.csv")
        np.testing.assert_array_equal(readings["discharge_ft3_s"], [3.1, np.nan, np.nan, 2.9])

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (",00011,", ",00003,", "only statistics of days .00003.*Request the collection"),
            ("00a4,5f1c3c0a", "00a4,9f9f9f9f", "2 time series of parameter 00065"),
            ("3c0a,USGS-01581752,00065", "3c0a,USGS-01646500,00065", "2 sites .* --site 01581752"),
            ("monitoring_location_id", "site", "parameter_code"),
            (",1.49,ft,", ",1.49 ft,ft,", "'value of 00065' has '1.49 ft' in row 3"),
        ],
    )
    def test_errors(self, tmp_path: Path, old: str, new: str, message: str) -> None:
        path = tmp_path / "file.csv"
        path.write_text((FILES / "usgs-water-data.csv").read_text().replace(old, new))
        with pytest.raises(ValueError, match=message):
            read_file(path)


def test_quality_of_the_environment_agency() -> None:
    readings = read_file(FILES / "environment-agency-hydrology.csv")
    assert readings["stage_qualifier"].tolist() == ["", "Estimated", "Suspect", "Missing"]


def test_water_survey_of_canada() -> None:
    readings = read_file(FILES / "water-survey-of-canada.csv")
    assert readings["stage_ft"].round(2).tolist() == [5, 6, 7, 6]
    assert readings["stage_qualifier"].tolist() == ["ICE", "ICE", "", ""]
    assert readings["discharge_ft3_s"].iloc[2] == pytest.approx(840 / 0.3048**3)
    assert readings.index[0] == pd.Timestamp("2018-01-15 08:00", tz="UTC")


class TestCampbell:
    def test_rain(self) -> None:
        assert read_file(FILES / "campbell.dat", EASTERN)["precipitation_in"].sum() == 0.53

    def test_a_zone_is_needed(self) -> None:
        with pytest.raises(ValueError, match=r"campbell\.dat: The times have no time zone"):
            read_file(FILES / "campbell.dat")


class TestTables:
    @pytest.mark.parametrize(
        ("file", "message"),
        [
            ("thingspeak.csv", r'one of .field1., .field2..*--stage "field2:ft"|--stage'),
            ("adafruit-io.csv", "does not say which column holds the stage.*--stage"),
            ("home-assistant.csv", "several sensors.* --where entity_id=sensor.creek_depth"),
        ],
    )
    def test_an_error_suggests_what_to_add(self, file: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            read_file(FILES / file)

    def test_a_column_without_a_unit(self) -> None:
        with pytest.raises(ValueError, match="in which unit column 'field1' is"):
            read_file(FILES / "thingspeak.csv", Choices(stage=("field1", None)))

    @pytest.mark.parametrize("ending", ["csv", "xlsx"])
    def test_a_table_of_ones_own(self, tmp_path: Path, ending: str) -> None:
        table = pd.DataFrame(
            {
                "Date time": pd.date_range("2018-08-31 08:00", periods=4, freq="15min"),
                "Water level (cm)": [30.48, 91.44, 182.88, 60.96],
                "Water temp (°F)": [68.0, 68.0, 67.9, 67.9],
                "Air temp (°F)": [88.0, 87.0, 86.0, 85.0],
            }
        )
        path = tmp_path / f"mine.{ending}"
        if ending == "csv":
            table.to_csv(path, index=False)
        else:
            table.to_excel(path, index=False)
        readings = read_file(path, EASTERN)
        assert readings["stage_ft"].tolist() == FLOOD
        assert readings["water_temperature_degC"].iloc[0] == 20
        assert readings.index[0] == NOON

    @pytest.mark.parametrize(
        ("times", "message"),
        [
            (["31/08/2018 12:00", "01/09/2018 12:00"], "Row 0 has '31/08/2018 12:00'"),
            (["2018-08-31 12:00", "12:30"], "Row 1 has '12:30'"),
            (["2018-08-31 12:00", "now"], "Row 1 has 'now'"),
            (["01/02/2018 12:00", "02/02/2018 12:00"], "not a time in ISO 8601"),
        ],
    )
    def test_no_time_is_guessed(self, tmp_path: Path, times: list[str], message: str) -> None:
        path = tmp_path / "mine.csv"
        path.write_text("time,stage_ft\n" + "".join(f"{time},1.5\n" for time in times))
        with pytest.raises(ValueError, match=message):
            read_file(path, Choices(zone="UTC"))

    def test_a_named_format(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.csv"
        path.write_text("time,stage_ft\n31/08/2018 12:00,1.5\n01/09/2018 12:00,1.6\n")
        readings = read_file(path, Choices(zone="UTC", time_format="%d/%m/%Y %H:%M"))
        assert readings.index[0] == NOON

    @pytest.mark.parametrize(
        ("content", "message"),
        [(b"", "is empty"), (b"hello\n", "none of the formats"), (b"\x00\x01\x02", "none of")],
    )
    def test_unknown_files(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_file(path)


class TestMessages:
    def write(self, tmp_path: Path, text: str) -> Path:
        path = tmp_path / "messages"
        path.write_text(text)
        return path

    def test_the_time_before_the_topic(self, tmp_path: Path) -> None:
        line = '2018-08-31T08:00:00-0400 creek/depth {"depth": 1.0}\n'
        assert read_file(self.write(tmp_path, line)).index[0] == NOON

    def test_a_message_of_a_shadow(self, tmp_path: Path) -> None:
        text = '{"state": {"reported": {"depth": 1.5}}, "timestamp": 1535716800}'
        assert read_file(self.write(tmp_path, text))["stage_ft"].tolist() == [1.5]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('creek/depth {"depth": 1.0}\n', "message 1 .* does not say when it was measured"),
            ('{"time": "2018-08-31T12:00:00Z", "depth": "wet"}', "its depth is 'wet'"),
            ('{"time": "2018-08-31T12:00:00Z", "depth": 1}\n{"depth', "read from line 2 on"),
            ('a {"time": 1535716800, "depth": 1}\nb {"time": 1535716801, "depth": 1}', "2 senders"),
        ],
    )
    def test_errors(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            read_file(self.write(tmp_path, text))

    def test_one_of_several_senders(self, tmp_path: Path) -> None:
        text = 'a {"time": 1535716800, "depth": 1}\nb {"time": 1535716801, "depth": 2}'
        readings = read_file(self.write(tmp_path, text), Choices(site="b"))
        assert readings["stage_ft"].tolist() == [2]

    def test_another_field(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, '{"time": 1535716800, "level": 0.3048}')
        assert read_file(path, Choices(stage=("level", "m")))["stage_ft"].tolist() == [1]
