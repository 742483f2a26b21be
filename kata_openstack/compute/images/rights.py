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

"""Which project may use an image of this node without asking its registry.

All projects share containerd. So an image that a project pulled with its own
credentials is bound: a label in containerd lists the projects that pulled it
so. Any other project must prove by a pull that the registry gives it the
image. An image without the label is open to all projects: it was pulled
without credentials, or the operator imported it.

The label is about one repository and one image ID. Two repositories may have
the same image, and containerd then has it once, with names of both: each
repository decides for its own names only. containerd does not download what
it has, so a tenant's own registry could name an image of another project, or
a layer of it, without having it. It must prove that it has the image.

The label is on the record that the CRI plugin keeps for the image ID, because
a pull replaces the labels of the record of the pulled name. It goes with the
image when that is removed.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import contextlib
import dataclasses
import math
import threading
import time

from oslo_log import log as logging

from kata_openstack.compute.images import layers
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

LOG = logging.getLogger(__name__)

# A label of images: this and the repository. Its value: IDs of projects.
USERS = 'kata-openstack.io/image-users/'
# A label of leases; its value: the repository
PULL = 'kata-openstack.io/private-pull'
# Labels of these leases: this and the ID of an image that was open before
_OPEN = 'kata-openstack.io/open-image/'
# containerd removes a label whose value is empty
_NOBODY = '-'
# containerd allows 4096 bytes for a label with its value. A project that no
# longer fits only has to ask the registry again.
_LONGEST = 3000
# After these errors, containerd has not created the image. A time-out has
# the same classes, but then containerd may create it a moment later.
_ANSWERS = (exception.ImageNotFound, exception.RegistryDenied,
            exception.RegistryUnreachable, exception.ImagePullFailed)
# Seconds after which it has surely ended such a pull
_SETTLED = 60.0


@dataclasses.dataclass
class _Pull:
    """The pulls of one repository.

    ``lease``: a lease in containerd, which tells of them after a crash.
    ``open``: IDs of the repository's images that are open to all.
    ``running``: how many. ``unsure_since``: monotonic seconds of the last
    end of one whose outcome is unknown, if there was one. ``private``: one
    of them has credentials. ``beside_private``: so has one of another
    repository at the same time, which may have brought the same image.
    """

    lease: str
    open: set[str] = dataclasses.field(default_factory=set)
    running: int = 0
    unsure_since: float | None = None
    private: bool = True
    beside_private: bool = True


class Rights:
    """The rights on the images of this node. Thread-safe."""

    def __init__(self, client: cri.CriClient, native_: native.NativeClient,
                 pull_timeout: float) -> None:
        """:param pull_timeout: seconds after which the client gives up"""
        self._client = client
        self._native = native_
        self._layers = layers.Layers(client)
        self._patience = pull_timeout - 1
        self._lock = threading.Lock()
        # by repository; None until it is read from containerd
        self._pulls: dict[str, _Pull] | None = None

    def may_use(self, project: str | None, repository: str, image_id: str
                ) -> bool:
        with self._lock:
            try:
                labels = self._labels(image_id)
            except exception.NotFound:
                return False  # it was removed meanwhile
            return self._may_use(project, True, repository, image_id, labels)

    def open(self, repository: str, pull: Callable[[], str],
             prove: Callable[[str], None]) -> str:
        """Pull without a project's credentials, and open the image to all.

        :param pull: returns the image ID
        :param prove: takes the image ID; called if another repository may
            have given the image or a part of it. Raises a KataError if this
            repository does not have all of it.
        :returns: the image ID
        """
        return self._bring(repository, pull, prove, None, private=False)

    def bind(self, project: str | None, repository: str,
             pull: Callable[[], str], prove: Callable[[str], None],
             answers: tuple[type[Exception], ...] = _ANSWERS) -> str:
        """Pull with the project's credentials, and bind the image to it.

        An image that was open before the pull stays open: a pull must not
        take it from others. For the other arguments, see :meth:`open`.

        :param answers: after these errors, containerd has no new image
        """
        return self._bring(repository, pull, prove, project, private=True,
                           answers=answers)

    def _bring(self, repository: str, pull: Callable[[], str],
               prove: Callable[[str], None], project: str | None,
               private: bool,
               answers: tuple[type[Exception], ...] = _ANSWERS) -> str:
        """Pull, and give the right.

        Until the end, an image that the pull brought is in containerd
        without a label. So the pull is recorded before it begins, in a way
        that survives a crash.
        """
        begun = time.monotonic()
        unsure = True
        self._begin(repository, private)
        try:
            image_id = pull()
            if self._must_prove(project, private, repository, image_id):
                self._prove(repository, image_id, prove)
            if private:
                self._admit(project, repository, image_id)
            else:
                self._open(repository, image_id)
            unsure = False
        except answers:
            unsure = time.monotonic() - begun >= self._patience
            raise
        finally:
            self._end(repository, unsure)
        return image_id

    def _must_prove(self, project: str | None, private: bool,
                    repository: str, image_id: str) -> bool:
        """Return whether a part of the image may come from somewhere else.

        containerd downloads no part that it has. So if a part is in none of
        the images that the project could run anyway, and in one that it
        could not, this repository may not have it.
        """
        with self._lock:
            mine = self._all_pulls()[repository]
            allowed: list[str] = []
            denied: list[str] = []
            images = self._client.list_images()
            for image in images:
                try:
                    labels = self._labels(image.id)
                except exception.NotFound:
                    continue  # it was removed meanwhile
                names = _repositories(image)
                if image.id == image_id:
                    if self._may_use(project, private, repository, image_id,
                                     labels):
                        return False
                    names.discard(repository)
                    if not names:
                        continue
                (allowed if any(
                    self._may_use(project, private, name, image.id, labels)
                    for name in names) else denied).append(image.id)
            if not denied and not mine.beside_private:
                return False
            self._layers.keep(image.id for image in images)
            unknown = self._layers.of(image_id).difference(
                *map(self._layers.of, allowed))
            hidden = set().union(*map(self._layers.of, denied))
        return bool(unknown & hidden or unknown and mine.beside_private)

    def _may_use(self, project: str | None, private: bool, repository: str,
                 image_id: str, labels: Mapping[str, str]) -> bool:
        """Whether the image is open, or private and the project's own.

        The image of a pull that has no label yet is neither.
        """
        users = labels.get(USERS + repository)
        if users is None:
            pull = self._all_pulls().get(repository)
            return pull is None or image_id in pull.open
        return private and project in users.split()

    def _prove(self, repository: str, image_id: str,
               prove: Callable[[str], None]) -> None:
        try:
            prove(image_id)
        except BaseException:
            with self._lock:
                self._write_if_there(repository, image_id, _NOBODY)
            raise

    def _open(self, repository: str, image_id: str) -> None:
        with self._lock:
            self._all_pulls()[repository].open.add(image_id)
            if self._users(repository, image_id) is not None:
                self._write(repository, image_id, '')

    def _begin(self, repository: str, private: bool) -> None:
        with self._lock:
            pulls = self._all_pulls()
            self._settle([
                name for name, pull in pulls.items()
                if not pull.running and pull.unsure_since is not None
                and pull.unsure_since < time.monotonic() - _SETTLED])
            if repository not in pulls:
                opened = {image.id for image in self._client.list_images()
                          if repository in _repositories(image)
                          and self._users(repository, image.id) is None}
                lease = self._native.add_lease({
                    PULL: repository, **{_OPEN + ident: 'yes'
                                         for ident in opened}})
                pulls[repository] = _Pull(
                    lease, opened, private=False, beside_private=False)
            mine = pulls[repository]
            mine.running += 1
            mine.private |= private
            for name, other in pulls.items():
                if name != repository:
                    mine.beside_private |= other.private
                    other.beside_private |= private

    def _admit(self, project: str | None, repository: str, image_id: str
               ) -> None:
        with self._lock:
            users = self._users(repository, image_id)
            if users is None and image_id in self._all_pulls()[
                    repository].open:
                return
            if project in (users or ()):
                return
            known = [user for user in users or () if user != _NOBODY]
            value = ' '.join([*known, project] if project else known)
            while len(value) > _LONGEST:
                value = value.partition(' ')[2]
            self._write(repository, image_id, value or _NOBODY)

    def _end(self, repository: str, unsure: bool) -> None:
        with self._lock:
            pull = self._all_pulls()[repository]
            pull.running -= 1
            if unsure:
                pull.unsure_since = time.monotonic()
            if not pull.running and pull.unsure_since is None:
                try:
                    self._forget(repository)
                except exception.KataError as e:
                    LOG.warning('The lease %s stays in containerd: %s',
                                pull.lease, e)
                    pull.unsure_since = time.monotonic()

    def _settle(self, repositories: Iterable[str]) -> None:
        """Bind what these pulls may have brought to no project."""
        repositories = set(repositories)
        if not repositories:
            return
        pulls = self._all_pulls()
        for image in self._client.list_images():
            for repository in repositories & _repositories(image):
                if (image.id not in pulls[repository].open
                        and self._users(repository, image.id) is None):
                    self._write_if_there(repository, image.id, _NOBODY)
        for repository in repositories:
            self._forget(repository)

    def _forget(self, repository: str) -> None:
        pulls = self._all_pulls()
        self._native.remove_lease(pulls[repository].lease)
        del pulls[repository]

    def _all_pulls(self) -> dict[str, _Pull]:
        """Return the pulls, also those that a crash has interrupted."""
        if self._pulls is None:
            self._pulls = {
                labels[PULL]: _Pull(
                    lease, {key.removeprefix(_OPEN) for key in labels
                            if key.startswith(_OPEN)},
                    unsure_since=-math.inf)
                for lease, labels in self._native.leases(PULL).items()}
        return self._pulls

    def _users(self, repository: str, image_id: str) -> list[str] | None:
        """Return who may use an image, None if it is open to all."""
        try:
            labels = self._labels(image_id)
        except exception.NotFound:
            return []  # it was removed meanwhile
        value = labels.get(USERS + repository)
        return None if value is None else value.split()

    def _labels(self, image_id: str) -> Mapping[str, str]:
        """:raises NotFound:"""
        return self._native.image(image_id).labels

    def _write_if_there(self, repository: str, image_id: str, value: str
                        ) -> None:
        with contextlib.suppress(exception.NotFound):
            self._write(repository, image_id, value)

    def _write(self, repository: str, image_id: str, value: str) -> None:
        self._native.set_image_label(image_id, USERS + repository, value)


def _repositories(image: pb.Image) -> set[str]:
    return {*(tag.rpartition(':')[0] for tag in image.repo_tags),
            *(digest.partition('@')[0] for digest in image.repo_digests)}
