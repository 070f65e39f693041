#!/bin/sh
# Write the lock files anew from the .in files: exact versions with hashes, for every platform and Python >= 3.11.
# `requirements/lock.sh --upgrade` takes newer versions. dev.txt is solved first; the others are subsets of it.
set -eu
cd "$(dirname "$0")"
compile="uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --override overrides.txt"
$compile "$@" dev.in -o dev.txt
for part in operator modelserver; do
    $compile --constraint dev.txt $part.in -o $part.txt
done
for lock in dev operator modelserver; do
    # The override leaves a line for the platform "never": pip would still want its hash.
    python3 - "$lock.txt" <<'PY'
import re, sys
path = sys.argv[1]
text = open(path).read()
text = re.sub(r"(?m)^tensorflow==.*\\\n(?:    --hash=.*\n)+(?:    #.*\n)*", "", text)
open(path, "w").write(text)
PY
done
