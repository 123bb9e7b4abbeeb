"""What a database's catalog says of its schema, comparable between databases and versions."""

from sqlalchemy import Connection, text

COLUMNS = """
    SELECT 'column', format('%s.%s', relname, attname),
           concat_ws(' ', format_type(atttypid, atttypmod),
                     CASE WHEN attnotnull THEN 'NOT NULL' END,
                     'DEFAULT ' || pg_get_expr(adbin, adrelid), attidentity, attgenerated,
                     'COLLATE ' || nullif(attcollation, 0)::regcollation)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm')
      AND relnamespace = 'public'::regnamespace
"""

# From PostgreSQL 18 on, NOT NULL is a constraint of its own (contype n): the columns say it.
CONSTRAINTS = """
    SELECT 'constraint', format('%s.%s', conrelid::regclass, conname),
           pg_get_constraintdef(oid) || CASE WHEN convalidated THEN '' ELSE ' NOT VALID' END
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
"""

INDEXES = """
    SELECT 'index', indexrelid::regclass::text,
           pg_get_indexdef(indexrelid) || CASE WHEN indisvalid THEN '' ELSE ' INVALID' END
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE relnamespace = 'public'::regnamespace
"""

RELATIONS = """
    SELECT 'relation', relname::text, concat_ws(' ', relkind, relpersistence, reloptions::text)
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
"""

FUNCTIONS = """
    SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid)
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind IN ('f', 'p')
"""

TYPES = """
    SELECT 'type', typname::text, typtype::text
    FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('d', 'e', 'r')
"""

TRIGGERS = """
    SELECT 'trigger', format('%s.%s', tgrelid::regclass, tgname), pg_get_triggerdef(oid)
    FROM pg_trigger WHERE NOT tgisinternal
"""

PARTS = (COLUMNS, CONSTRAINTS, INDEXES, RELATIONS, FUNCTIONS, TYPES, TRIGGERS)


def catalog(connection: Connection) -> dict[tuple[str, str], str]:
    """The definition of everything in the schema `public`, by what it is and its name."""
    return {
        (sort, name): definition
        for part in PARTS
        for sort, name, definition in connection.execute(text(part))
    }
