"""Runs psql on the database of DATABASE_URL_UNPOOLED or DATABASE_URL: psql.py CA_BUNDLE PSQL [ARGUMENTS]

Passes the URL in environment variables. A URL or a password in a command line could be read by every user of the machine.
"""

import os
import sys
from urllib.parse import parse_qsl, unquote, urlsplit

names = ("DATABASE_URL_UNPOOLED", "DATABASE_URL")
urls = {name: os.environ.pop(name, "") for name in names}
name = next((name for name in names if urls[name].strip()), "DATABASE_URL")
try:
    url = urlsplit(urls[name])
    port = url.port or 5432
except ValueError:
    sys.exit(f"dev: {name} is not a valid URL.")
if url.scheme not in ("postgresql", "postgres") or not url.hostname:
    sys.exit(f"dev: {name} is not a postgresql:// URL.")
for name in ("PGSERVICE", "PGHOSTADDR"):
    os.environ.pop(name, None)
os.environ.update(
    PGHOST=url.hostname,
    PGPORT=str(port),
    PGUSER=unquote(url.username or ""),
    PGPASSWORD=unquote(url.password or ""),
    PGDATABASE=unquote(url.path[1:]),
    PGSSLMODE="verify-full",
    PGSSLROOTCERT=sys.argv[1] or "system",
)
parameters = dict(parse_qsl(url.query))
for parameter, name in (("options", "PGOPTIONS"), ("channel_binding", "PGCHANNELBINDING")):
    if parameter in parameters:
        os.environ[name] = parameters[parameter]
os.execvp(sys.argv[2], sys.argv[2:])
