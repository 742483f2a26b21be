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

import shlex

from zunclient.common import utils as client_utils

from kata_openstack import exception
from kata_openstack.zun_driver import arguments
from tests.unit import base


class WordsTest(base.TestCase):

    def test_the_client_s_words_arrive_unchanged(self):
        for words in (
                ['ls'], ['ls', '-l', '/'], ['echo', ''], ['', 'a'],
                ['echo', 'a  b'], ['echo', "it's"], ['echo', '$HOME', '*'],
                ['sh', '-c', 'echo "a  b"'], ['sh', '-c', "echo 'a  b'"],
                ['sh', '-c', 'echo "a" "b"'],
                ['sh', '-c', 'echo "a"; echo "b c" "d"'],
                ['sh', '-c', '"a b" "c d"', 'x'],
                ['python3', '-c', 'print("a", \'b\')'],
                ['printf', r'a\nb'], ['printf', r'a\\b'], ['echo', '"'],
                ['grep', 'a"b'], ['sh', '-c', 'echo "a\nb"'],
                ['echo', 'ä', '"ß"'], ['echo', ' ', '  '],
                ['jq', '.a["b"]'], ['echo', '{"a": "b", "c": ["d", "e"]}']):
            self.assertEqual(words, arguments.words(
                client_utils.parse_command(words)), words)

    def test_what_cannot_be_told_apart(self):
        """The documentation says what to do instead."""
        for words, found in (
                # an escaped quotation mark is a shell's
                (['sh', '-c', r'echo "a\"b"'], ['sh', '-c', r'echo a"b']),
                # two words, each with half a pair
                (['echo', 'a"', '"b'], ['echo', 'a"" ""b'])):
            self.assertEqual(found, arguments.words(
                client_utils.parse_command(words)))

    def test_a_shells_words(self):
        for words in (['ls'], ['echo', 'a  b'], ['echo', "it's", '"'],
                      ['sh', '-c', 'echo "a" "b"'], ['printf', r'a\\b']):
            self.assertEqual(words, arguments.words(shlex.join(words)))
        for command, words in (
                (r'"echo" "say \"hi\""', ['echo', 'say "hi"']),
                ("sh -c 'echo a'", ['sh', '-c', 'echo a']),
                ('echo "a b"', ['echo', 'a b']), ('a"b"c', ['abc'])):
            self.assertEqual(words, arguments.words(command))

    def test_refused(self):
        for command in ('', '  ', "sh -c 'echo", 'echo "a'):
            self.assertRaises(exception.InvalidInput, arguments.words,
                              command)
