"""Prints the variables that a file like .env sets: read_env.py FILE EXAMPLE

Each is printed as NAME=VALUE and a NUL character, and after them the word `end`. The file is read as python-dotenv and
docker compose read it: of two lines with one name the last counts. EXAMPLE is .env.example, which names the settings.

Lines of other programs are passed over. A note names them by their numbers alone, since any of them may hold a secret.
"""

import codecs
import io
import logging
import re
import sys

from dotenv.main import DotEnv
from dotenv.parser import parse_stream


def fail(sentence):
    sys.exit(f"dev: .env{sentence}")


def read(path):
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        fail(f" cannot be read: {error.strerror}.")
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        fail(" is not in UTF-8. Save it in UTF-8.")
    if "\0" in text:
        fail(" holds NUL characters, as a file in UTF-16 does. Save it in UTF-8.")
    return text


def setting_in(line, settings):
    """The setting that a line is about, even where characters that cannot be seen stand in its name."""
    name = re.split(r"[=:\s]", re.sub(r"^export\s+", "", line))[0]
    name = re.sub(r"[^A-Za-z0-9_]", "", name)
    return name if name in settings else None


def main():
    path, example = sys.argv[1:]
    with open(example, encoding="utf-8") as file:
        settings = set(re.findall(r"^#?([A-Z_]+)=", file.read(), re.MULTILINE))
    text = read(path)
    passed_over = []
    names = set()
    for binding in parse_stream(io.StringIO(text)):
        line = binding.original.string
        is_variable = binding.key is not None and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", binding.key)
        if is_variable and binding.value is not None:
            names.add(binding.key)
        elif binding.error or binding.key is not None:
            # It may be wrong in the line before, which python-dotenv then takes into this one.
            first = binding.original.line + len(line) - len(line.lstrip("\r\n"))
            name = setting_in(line.strip(), settings)
            if name:
                fail(f", line {first}: this is not {name}=VALUE, or a quote is not closed.")
            passed_over.append(str(first))
    if passed_over:
        lines = "line" if len(passed_over) == 1 else "lines"
        print(f"    Passed over {lines} {', '.join(passed_over)}: not NAME=VALUE", file=sys.stderr)
    # It would warn about what is passed over once more.
    logging.disable()
    # Variables of the environment override those of the file, in ${NAME} as well.
    values = DotEnv(None, stream=io.StringIO(text), override=False).dict()
    for name in sorted(names):
        sys.stdout.write(f"{name}={values[name]}\0")
    sys.stdout.write("end\0")


main()
