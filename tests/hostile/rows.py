"""Statements that make many records at once, far larger than those of a usual database."""

MAKER = "gen_random_uuid(), 'x', '/tests', '2026-03-01T12:00:00.000000Z'"

PROJECT = "many"

PROVIDERS = f"""
INSERT INTO providers
SELECT md5('p' || n)::uuid, 0, 1, 'p' || n, NULL, ARRAY[]::text[], ARRAY[]::uuid[], false, {MAKER}
FROM generate_series(1, $1::int) AS n
"""  # noqa: S608 - made of the constants above

INVENTORIES = """
INSERT INTO inventories (provider_id, resource_class, total, reserved, min_unit, max_unit, step_size, allocation_ratio)
SELECT md5('p' || n)::uuid, 'CUSTOM_' || class, 100, 0, 1, 100, 1, 1.0
FROM generate_series(1, $1::int) AS n, generate_series(1, $2::int) AS class
"""

CONSUMERS = f"""
INSERT INTO consumers (
    id, generation, sequence, project_id, user_id, consumer_type, deleted,
    maker_id, maker_type, maker_source, maker_time
)
SELECT md5('c' || n)::uuid, 1, 1, '{PROJECT}', 'user', 'TYPE_' || n, false, {MAKER}
FROM generate_series(1, $1::int) AS n
"""  # noqa: S608 - made of the constants above

ALLOCATIONS = """
INSERT INTO allocations (consumer_id, provider_id, resource_class, amount)
SELECT md5('c' || n)::uuid, md5('p1')::uuid, 'CUSTOM_' || class, 1
FROM generate_series(1, $1::int) AS n, generate_series(1, $2::int) AS class
"""

STACKS = f"""
INSERT INTO stacks
SELECT md5('s' || n)::uuid, 1, 's' || n, 'CREATE', 'IN_PROGRESS', '', gen_random_uuid(), NULL,
    $2::text::json, $2::text::json, false, NULL, {MAKER}
FROM generate_series(1, $1::int) AS n
"""  # noqa: S608 - made of the constants above
