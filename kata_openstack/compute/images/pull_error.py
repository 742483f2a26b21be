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

"""The error that a tenant gets for a failed pull, from containerd's text.

A tenant chooses the registry that the node dials. So the error must not tell
what a port of some other host answered: it has a class and fixed words. The
text of containerd goes into the log of the node.
"""

import re

from kata_openstack import exception

_DENIED = re.compile(
    r'\b401\b|403 forbidden|unauthorized|authorization failed|access denied|'
    r'authentication required|no basic auth credentials|'
    r'insufficient_scope|failed to fetch (anonymous|oauth) token',
    re.IGNORECASE)
_UNREACHABLE = re.compile(
    r'dial tcp|no such host|connection re(fused|set)|i/o timeout|'
    r'tls: |x509: |HTTPS client|network is unreachable|no route to host|'
    r'context deadline exceeded|longer than the limit|EOF$|'
    r'\b50[0-4] |proxyconnect', re.IGNORECASE)
_MISSING = re.compile(
    r'not found$|\b404\b|manifest unknown|name unknown|no match for platform|'
    r'repository does not exist', re.IGNORECASE)
# What answered is no registry. These words come last, because containerd
# also puts them before the registry's own answer.
_NO_REGISTRY = re.compile(
    r'failed to resolve reference|failed to do request', re.IGNORECASE)
_FULL = re.compile(r'no space left|disk quota exceeded', re.IGNORECASE)

_QUERY = re.compile(r'\?[^\s"]+')


def translate(name: str, error: exception.KataError) -> exception.KataError:
    """Return the specific error for a failed pull."""
    if isinstance(error, exception.NotFound):
        return exception.ImageNotFound(image=name)
    if not isinstance(error, exception.RuntimeFailed):
        return error
    why = _why(error)
    # Check for a denial first: a registry that requires a login answers
    # "denied" also for images that it does not have. The registry's own
    # text is at the end of containerd's error chain.
    if _DENIED.search(why):
        return exception.RegistryDenied(image=name)
    if _UNREACHABLE.search(why):
        return exception.RegistryUnreachable(image=name)
    if _MISSING.search(why):
        return exception.ImageNotFound(image=name)
    if _NO_REGISTRY.search(why):
        return exception.RegistryUnreachable(image=name)
    return exception.ImagePullFailed(
        image=name, why='the node has no space left for it'
        if _FULL.search(why) else 'the node could not fetch or unpack it')


def detail(error: exception.KataError) -> str:
    """Return containerd's text for the log.

    Without the queries of URLs, because those to which registries redirect
    contain signatures that give access, and without control characters.
    """
    return ''.join(c if c.isprintable() else '?'
                   for c in _QUERY.sub('?...', _why(error)))


def _why(error: exception.KataError) -> str:
    return str(error.kwargs.get('why', error))
