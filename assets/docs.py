"""Data Docs: what the suites say of the latest audited day, as pages that anyone can open."""

from typing import Any

import dagster as dg

from assets.expectations import SUITES
from assets.layers import PUBLISHED
from assets.metadata import OWNERS


def build_docs_assets() -> list[dg.AssetsDefinition]:
    """Define the Data Docs."""

    @dg.asset(
        deps=list(SUITES),
        group_name=PUBLISHED,
        owners=OWNERS,
        kinds={"greatexpectations"},
        code_version="1",
        required_resource_keys={"tables", "data_docs", "settings"},
        description="Great Expectations Data Docs of the latest day in core; pages of older runs are removed.",
    )
    def gx_data_docs(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        resources = context.resources
        days = resources.tables.days("core_requests")
        if not days:
            raise dg.Failure(description="core_requests holds no day yet", allow_retries=False)
        day = days[-1]
        pages = resources.data_docs.publish(
            {
                table: (resources.tables.read(table, day, day), build_suite(resources.settings.config, day))
                for table, build_suite in SUITES.items()
            }
        )
        return dg.MaterializeResult(metadata=_metadata(day.isoformat(), pages))

    return [gx_data_docs]


def _metadata(day: str, pages: Any) -> dict[str, Any]:
    return {
        "day": day,
        "path": dg.MetadataValue.path(str(pages.index)),
        "passed": pages.passed,
        "rows_shown": pages.rows,
    }
