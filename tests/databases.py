"""Every test that asks for `where` runs on SQLite, and on PostgreSQL where HEEDFUL_TEST_POSTGRES is a URL."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "feedback.db")
        return
    server = os.environ.get("HEEDFUL_TEST_POSTGRES")
    if not server:
        pytest.skip("HEEDFUL_TEST_POSTGRES is not set: give the URL of a server where databases may be made")
    name = f"heedful_test_{uuid4().hex}"
    admin = create_engine(make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        admin.dispose()
