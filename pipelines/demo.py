"""The demonstration: 35 days of made-up logs in real formats, written into the landing directory."""

from datetime import date, timedelta

from assets.files import write_atomically
from fleetopt.workload.demo import DEMO_SOURCES, demo_day
from pipelines.nightly import Progress
from pipelines.resources.paths import PROJECT_ROOT
from pipelines.resources.settings import Settings

DAYS = 35
FIRST_DAY = date(2025, 9, 29)
LAST_DAY = FIRST_DAY + timedelta(days=DAYS - 1)
SEED = 1
CONFIG = PROJECT_ROOT / "fleetopt.toml"


def write_demo_logs(settings: Settings, progress: Progress) -> None:
    """Write each source's file of each day; a file that is there already is left as it is."""
    for offset in range(DAYS):
        day = FIRST_DAY + timedelta(days=offset)
        progress.on_message(f"writing demo logs of {day}")
        for name, source in DEMO_SOURCES.items():
            path = settings.data_dir / "landing" / name / f"{day.isoformat()}{source.suffix}"
            if not path.exists():
                write_atomically(path, demo_day(name, day, first_day=FIRST_DAY, seed=SEED))
