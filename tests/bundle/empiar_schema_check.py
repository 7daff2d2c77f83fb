"""Hold a deposition draft on standard input to EMPIAR's own schema; prints one JSON list of findings.

Run with the bundle tools' own Python, whose ``empiar-depositor`` carries the schema.
"""

import json
import sys
from importlib.resources import files

import jsonschema

schema = json.loads(files("empiar_depositor").joinpath("empiar_deposition.schema.json").read_text())
# The schema names a metaschema without a version; its keywords (a list "required", "const") are of draft 6 and later.
checker = jsonschema.Draft7Validator(schema)
jsonschema.Draft7Validator.check_schema(schema)
found = [
    ".".join(str(part) for part in error.absolute_path) + ": " + error.message
    for error in checker.iter_errors(json.load(sys.stdin))
]
print(json.dumps(sorted(found)))
