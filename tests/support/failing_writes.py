"""Writes that fail as PostgreSQL would let them: a trigger raises the SQLSTATE."""

from tests.support.database import Connection

FAILING = """
CREATE SEQUENCE failures;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF nextval('failures') <= TG_ARGV[1]::bigint THEN
        RAISE EXCEPTION 'made to fail' USING ERRCODE = TG_ARGV[0];
    END IF;
    RETURN NEW;
END $$;
"""


async def fail(second: Connection, row: str, state: str, times: int = 10**6, table: str = "documents") -> None:
    """Make the next so many writes of a row raise a SQLSTATE."""
    await fail_where(second, f"NEW.id::text = '{row}'", state, times, table)


async def fail_where(
    second: Connection, condition: str, state: str, times: int = 10**6, table: str = "documents"
) -> None:
    """Make the next so many writes of rows that meet a condition raise a SQLSTATE."""
    await second.execute(FAILING)
    await second.execute(
        f"CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW "
        f"WHEN ({condition}) EXECUTE FUNCTION fail('{state}', '{times}')"
    )


async def mend(second: Connection, table: str = "documents") -> None:
    """Let the writes succeed again."""
    await second.execute(f"DROP TRIGGER fail ON {table}")


async def failed(second: Connection) -> int:
    """How many writes have been made to fail."""
    count: int = await second.fetchval("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM failures")
    return count
