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

"""The layout of the packages keeps its rules."""

import ast
import collections
import pathlib

import kata_openstack
from tests.unit import base

ROOT = pathlib.Path(kata_openstack.__file__).parent
MOST_MODULES = 15
# A package, and the ones whose modules it must not import.
ABOVE = {
    'kata_openstack.runtime': (
        'kata_openstack.compute', 'kata_openstack.zun_driver',
        'kata_openstack.notifications', 'kata_openstack.cli',
        'kata_openstack.cmd', 'oslo_messaging', 'zun'),
    'kata_openstack.compute': (
        'kata_openstack.zun_driver', 'kata_openstack.cli',
        'kata_openstack.cmd', 'zun'),
    'kata_openstack.zun_driver': (
        'kata_openstack.cli', 'kata_openstack.cmd',
        'kata_openstack.compute.pods', 'kata_openstack.compute.network',
        'kata_openstack.runtime'),
    'kata_openstack.cli': ('kata_openstack.cmd',),
}


def modules():
    """Dotted names of all modules, without generated ones: their paths."""
    found = {}
    for path in sorted(ROOT.rglob('*.py')):
        parts = path.relative_to(ROOT.parent).with_suffix('').parts
        if parts[-1] == '__init__':
            parts = parts[:-1]
        elif parts[-1].endswith(('_pb2', '_pb2_grpc')):
            continue
        found['.'.join(parts)] = path
    return found


def imports(path, known):
    """Names of the modules that a file imports, also inside functions.

    Imports for type checkers only do not count.
    """
    tree = ast.parse(path.read_text())
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.dump(node.test):
            skipped.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f'{node.module}.{alias.name}'
                yield name if name in known else node.module


class StructureTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.modules = modules()
        self.imports = {name: set(imports(path, self.modules))
                        for name, path in self.modules.items()}

    def test_no_import_circles(self):
        done, path = set(), []

        def visit(name):
            if name in path:
                self.fail('a circle: ' + ' -> '.join(
                    [*path[path.index(name):], name]))
            if name in done:
                return
            path.append(name)
            for other in sorted(self.imports[name] & set(self.modules)):
                visit(other)
            done.add(path.pop())
        for name in self.modules:
            visit(name)

    def test_imports_go_downward(self):
        wrong = [
            f'{name} imports {other}'
            for name, others in self.imports.items()
            for package, above in ABOVE.items()
            if name.startswith(package + '.')
            for other in others
            if any(other == a or other.startswith(a + '.') for a in above)]
        self.assertEqual([], wrong)

    def test_a_running_shim_imports_no_more(self):
        """An upgrade replaces the files of shims that go on running."""
        shim = 'kata_openstack.runtime.embedded.shim'
        waiting, seen = [f'{shim}.daemon', f'{shim}.cleanup'], set()
        while waiting:
            name = waiting.pop()
            seen.add(name)
            waiting += self.imports[name] & set(self.modules) - seen
        late = [f'{name}: {ast.unparse(node)}'
                for name in seen
                for function in ast.walk(ast.parse(
                    self.modules[name].read_text()))
                if isinstance(function, (ast.FunctionDef,
                                         ast.AsyncFunctionDef))
                for node in ast.walk(function)
                if isinstance(node, (ast.Import, ast.ImportFrom))]
        self.assertEqual([], late)
        self.assertIn('kata_openstack.runtime.embedded.vm.restore', seen)

    def test_no_folder_is_too_large(self):
        sizes = collections.Counter(
            path.parent.relative_to(ROOT) for name, path
            in self.modules.items() if path.name != '__init__.py')
        self.assertEqual({}, {
            str(folder): size for folder, size in sizes.items()
            if size > MOST_MODULES})

    def test_no_two_modules_have_one_name(self):
        for package in ('compute', 'runtime'):
            named = collections.defaultdict(list)
            for name, path in self.modules.items():
                if (name.startswith(f'kata_openstack.{package}.')
                        and path.name != '__init__.py'):
                    named[path.stem].append(name)
            self.assertEqual({}, {
                stem: names for stem, names in named.items()
                if len(names) > 1})
