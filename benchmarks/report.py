# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Prints results of benchmarks as a table, and writes them as JSON."""

import argparse
import json
import pathlib
import statistics
from typing import Any


def parser(tool: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all tools of bench.sh have."""
    made = argparse.ArgumentParser(prog=f'bench.sh {tool}',
                                   description=description)
    made.add_argument('-n', type=int, default=10,
                      help='number of rounds (default 10)')
    made.add_argument('--json', type=pathlib.Path, metavar='FILE',
                      help='also write the results as JSON')
    return made


def summary(values: list[float], unit: str = 's') -> dict[str, Any]:
    return {'median': round(statistics.median(values), 3),
            'min': round(min(values), 3), 'max': round(max(values), 3),
            'n': len(values), 'unit': unit}


def show(results: dict[str, dict[str, Any]],
         json_file: pathlib.Path | None = None) -> None:
    """Print the table, and write ``json_file`` if it is given."""
    width = max(map(len, results), default=0)
    print(f'{"":{width}}  {"median":>9} {"min":>9} {"max":>9} {"n":>3}  unit')
    for name, result in results.items():
        print(f'{name:{width}}  {result["median"]:9.3f} '
              f'{result["min"]:9.3f} {result["max"]:9.3f} '
              f'{result["n"]:3}  {result["unit"]}')
    if json_file:
        json_file.write_text(json.dumps(results, indent=1) + '\n')
