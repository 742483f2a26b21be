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

"""The container driver ``kata`` of zun-compute."""

from collections.abc import Iterator
import contextlib
from typing import Any

from oslo_log import log as logging
from zun.common import consts
from zun.common import context as zun_context
import zun.conf
from zun.container import driver
from zun import objects as zun_objects

from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.zun_driver import arguments
from kata_openstack.zun_driver import base
from kata_openstack.zun_driver import client
from kata_openstack.zun_driver import commands
from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver.files import archives
from kata_openstack.zun_driver.files import injected
from kata_openstack.zun_driver import images
from kata_openstack.zun_driver.network import activation
from kata_openstack.zun_driver.network import ports
from kata_openstack.zun_driver import placement
from kata_openstack.zun_driver.records import failures
from kata_openstack.zun_driver.records import kept
from kata_openstack.zun_driver.records import resources
from kata_openstack.zun_driver.records import restarts
from kata_openstack.zun_driver.records import resume
from kata_openstack.zun_driver.records import status
from kata_openstack.zun_driver.records import sync
from kata_openstack.zun_driver.records import watch
from kata_openstack.zun_driver import refusals
from kata_openstack.zun_driver import translate
from kata_openstack.zun_driver import zun_faults

CONF = zun.conf.CONF
LOG = logging.getLogger(__name__)


class KataContainerDriver(refusals.Refusals, images.Images,
                          commands.Commands, archives.Archives,
                          resources.Resources, base.KataBaseDriver,
                          driver.ContainerDriver):
    """Translate Zun's calls into requests to kata-compute.

    The signatures match the calls in zun-compute's manager; some differ from
    those of Zun's base class. A method changes the record that it receives,
    because the manager saves that same object afterwards.
    """

    def __init__(self) -> None:
        super().__init__()
        images.replace_zuns_parser()
        zun_faults.replace()
        self._plugged = activation.Plugged()
        self._sweeper = failures.Sweeper()
        self._resumer = resume.Resumer()
        self._restarts = restarts.Restarts(self._start)
        self._watch = watch.Watch(self._changed)

    # life

    @errors.translated
    def create(self, context: Any, container: Any, image: dict[str, Any],
               requested_networks: list[dict[str, Any]],
               requested_volumes: dict[str, Any]) -> Any:
        """Create ports, sandbox and container, without starting it.

        A rebuild calls this too, after it has deleted the pod. If this fails,
        it leaves nothing on the node, in Neutron or in Placement.
        """
        try:
            self._create(context, container, image, requested_networks,
                         requested_volumes.get(container.uuid) or ())
        except Exception:
            placement.free(context, container.uuid)
            raise
        return container

    def _create(self, context: Any, container: Any, image: dict[str, Any],
                requested_networks: list[dict[str, Any]],
                volumes: Any) -> None:
        files = injected.archive(volumes)
        refusals.refuse_options(container)
        details = image.get(images.DETAILS)
        if details is None:
            # A user runs Zun's sandbox image, which pull_image() skips.
            details = images.pull(
                context, client.host(container), image['repo'], image['tag'],
                'ifnotpresent', None, container.registry)[images.DETAILS]
        images.admit_owner(context, container, image)
        networks = kept.resolve(container, requested_networks)
        translate.runtime(container)
        network = ports.Network(context)
        attachment = network.attach(container, networks)
        try:
            container.addresses = attachment.addresses
            kept.keep(container, kept.Kept(
                image=images.reference(image), vifs=attachment.vifs,
                nameservers=attachment.nameservers,
                search_domains=attachment.search_domains,
                image_labels=details.get('labels') or {}))
            # Save before creating the pod: after a crash the record still
            # leads to the ports and the pod.
            container.save(context)
            pod = translate.pod(container)
            found = client.api().create_pod(
                client.context(context), client.host(container),
                pod.to_dict())
            self._plugged.add(container.uuid, CONF.kata_driver.port_timeout)
            if files:
                self.unpack(context, container, '/', files)
        except Exception:
            self._clean_up(context, container)
            raise
        translate.defaults(container, details)
        container.hostname = pod.hostname
        self._apply(container, found)
        container.save(context)

    @staticmethod
    def _apply(container: Any, found: dict[str, Any]) -> None:
        """Write kata-compute's answer to an operation into ``container``.

        :raises NotFound: if the pod lacks this container.
        """
        pod = objects.PodStatus.from_dict(found)
        status.apply_pod(container, pod)
        state = status.of(container, pod)
        if state is None:
            raise exception.NotFound(kind='Container', id=container.uuid)
        status.apply(container, state, forced=True)

    @errors.translated
    def start(self, context: Any, container: Any) -> Any:
        """Start the container.

        A first start that fails undoes create(), unless the node may still
        have the pod: then a later start may succeed.
        """
        self._restarts.forget(container)
        return self._start(context, container)

    def _start(self, context: Any, container: Any) -> Any:
        refusals.refuse_uncreated(container)
        if self._plugged.take(container.uuid, CONF.kata_driver.port_timeout):
            self._wait_for_network(context, container)
        try:
            with _handler_needed(container):
                found = client.api().start_pod(
                    client.context(context), client.host(container),
                    translate.pod(container).to_dict())
            self._apply(container, found)
        except Exception as e:
            if (not isinstance(e, errors.UNREACHABLE)
                    and _never_started(container)
                    and self._is_gone(container)):
                self._clean_up(context, container)
            raise
        self._restarts_an_end(container)
        if container.status == consts.RUNNING:
            container.status_reason = None
        return container

    def _restarts_an_end(self, container: Any) -> None:
        """Leave a container in Running that has ended at once.

        Its restart policy takes it when the node tells of the end, and looks
        only at containers that ran.
        """
        if (container.status == consts.STOPPED
                and self._restarts.has_policy(container)):
            container.status = consts.RUNNING

    def _wait_for_network(self, context: Any, container: Any) -> None:
        """Wait for the ports, because the program may need them at once.

        create() does not wait: Zun works for a moment between the two, and
        Neutron's agent does so, too.
        """
        try:
            ports.Network(context).wait_active(container)
        except Exception:
            self._clean_up(context, container)
            raise

    def _is_gone(self, container: Any) -> bool:
        """Return True only if the node answers that it lacks the pod."""
        try:
            return not self.check_container_exist(container)
        except Exception as e:
            LOG.warning('Could not check whether the node has pod %s: %s',
                        container.uuid, errors.text(e))
            return False

    @errors.reported_as_error
    def stop(self, context: Any, container: Any,
             timeout: int | str | None = None) -> Any:
        refusals.refuse_uncreated(container)
        self._resumer.forget(container)
        self._restarts.forget(container)
        self._apply(container, client.api().stop_pod(
            client.context(context), client.host(container), container.uuid,
            arguments.seconds(timeout)))
        container.status = consts.STOPPED
        container.status_reason = None
        return container

    @errors.reported_as_error
    def reboot(self, context: Any, container: Any,
               timeout: int | str | None = None) -> Any:
        if container.container_id is None:
            # zun-api has set Restarting; nothing else would change it.
            container.status = consts.ERROR
        refusals.refuse_uncreated(container)
        self._restarts.forget(container)
        with _handler_needed(container):
            found = client.api().restart_pod(
                client.context(context), client.host(container),
                translate.pod(container).to_dict(),
                arguments.seconds(timeout))
        self._apply(container, found)
        container.status_reason = None
        return container

    @errors.reported
    def kill(self, context: Any, container: Any,
             signal: str | None = None) -> Any:
        """Send a signal, SIGKILL by default.

        The container stays Running if the signal does not end it.
        """
        refusals.refuse_uncreated(container)
        self._resumer.forget(container)
        if signal in (None, '', 'None'):
            signal = 'SIGKILL'
        self._restarts.let_end(container, str(signal))
        api, ctxt = client.api(), client.context(context)
        api.kill_container(ctxt, client.host(container), container.uuid,
                           str(signal))
        # after SIGKILL, the node has waited for the end of the container
        self._apply(container, api.show_pod(ctxt, client.host(container),
                                            container.uuid))
        if not self._restarts.ends(container):
            self._restarts_an_end(container)
        return container

    @errors.reported
    def pause(self, context: Any, container: Any) -> Any:
        return self._pause(context, container, True)

    @errors.reported
    def unpause(self, context: Any, container: Any) -> Any:
        return self._pause(context, container, False)

    def _pause(self, context: Any, container: Any, paused: bool) -> Any:
        refusals.refuse_uncreated(container)
        api, ctxt = client.api(), client.context(context)
        host = client.host(container)
        api.pause_container(ctxt, host, container.uuid, paused)
        self._apply(container, api.show_pod(ctxt, host, container.uuid))
        container.status_reason = None
        return container

    @errors.translated
    def delete(self, context: Any, container: Any, force: bool) -> None:
        self._restarts.forget(container)
        self._delete(context, container, bool(force))

    # state

    def show(self, context: Any, container: Any) -> Any:
        """Update one record from the node. Never raises.

        The record stays unchanged if the node does not answer, or while a
        task runs: the task sets the outcome.
        """
        if container.container_id is None or container.task_state:
            return container
        try:
            pod = objects.PodStatus.from_dict(client.api().show_pod(
                client.context(context), client.host(container),
                container.uuid))
        except exception.NotFound:
            sync.missing(container)
        except Exception as e:
            LOG.warning('Could not read the state of %s: %s', container.uuid,
                        errors.text(e))
        else:
            sync.container(container, pod, self._restarts)
        return container

    def list(self, context: Any) -> tuple[Any, Any]:
        """Update all containers of this host from the node.

        Zun calls this once, when zun-compute starts.

        :returns: all of them, and those that the node does not have.
        """
        local = zun_objects.Container.list_by_host(context, CONF.host)
        for record in local:
            failures.interrupted_rebuild(context, record)
        lost = sync.containers(context, local, self._restarts)
        if lost is None:
            self._resumer.remember(local)
        self._watch.start()
        return local, lost or []

    def update_containers_states(self, context: Any, containers: Any,
                                 manager: Any) -> None:
        """Update the records of this host, and free stale allocations.

        Zun calls this once with all containers and once with all capsules,
        each time with the records of every host.
        """
        self._sweeper.sweep(context, containers)
        local = [c for c in containers if c.host == CONF.host]
        sync.update(context, local, manager, self._resumer, self._restarts)

    def _changed(self, uuid: str) -> None:
        """Update the record of a pod that has changed on this node."""
        sync.one(zun_context.get_admin_context(all_projects=True), uuid,
                 self._restarts)

    def check_container_exist(self, container: Any) -> bool:
        try:
            client.api().show_pod(client.context(None),
                                  client.host(container), container.uuid)
        except exception.NotFound:
            return False
        except exception.KataError as e:
            error = errors.to_zun(e)
            if container.status == consts.REBUILDING:
                # Zun's manager would leave it so
                container.status = consts.ERROR
                container.status_reason = errors.text(error)
            raise error from e
        return True

    @errors.translated
    def show_logs(self, context: Any, container: Any, stdout: bool = True,
                  stderr: bool = True, timestamps: bool = False,
                  tail: int | str | None = 'all',
                  since: str | None = None) -> str:
        refusals.refuse_uncreated(container)
        return client.api().logs(
            client.context(context), client.host(container), container.uuid,
            bool(stdout), bool(stderr), bool(timestamps), arguments.tail(tail),
            arguments.since(since))

    @errors.translated
    def stats(self, context: Any, container: Any) -> dict[str, Any]:
        refusals.refuse_uncreated(container)
        found = client.api().stats(client.context(context),
                                   client.host(container), container.uuid)
        return {'CONTAINER': container.name,
                'CPU %': found['cpu_percent'],
                'MEM USAGE(MiB)': found['memory_mib'],
                'MEM LIMIT(MiB)': found['memory_limit_mib'],
                'MEM %': found['memory_percent'],
                'BLOCK I/O(B)':
                    f'{found["block_read"]}/{found["block_write"]}',
                'NET I/O(B)': f'{found["net_rx"]}/{found["net_tx"]}'}

    @errors.translated
    def top(self, context: Any, container: Any,
            ps_args: str | None = None) -> dict[str, Any]:
        refusals.refuse_uncreated(container)
        return client.api().top(
            client.context(context), client.host(container), container.uuid,
            '' if ps_args in (None, 'None') else str(ps_args))

    # security groups

    @errors.reported
    def add_security_group(self, context: Any, container: Any,
                           security_group: str, **kwargs: Any) -> None:
        ports.Network(context).groups.add(container, security_group)

    @errors.reported
    def remove_security_group(self, context: Any, container: Any,
                              security_group: str, **kwargs: Any) -> None:
        ports.Network(context).groups.remove(container, security_group)


@contextlib.contextmanager
def _handler_needed(container: Any) -> Iterator[None]:
    """Explain that a start needs the handler that made the files.

    :raises Conflict: if the node no longer has it
    """
    try:
        yield
    except exception.UnknownRuntime as e:
        raise exception.Conflict(
            kind='Container', id=container.uuid,
            state=f'bound to the runtime {container.runtime}, which its node '
                  'no longer offers',
            remedy='Rebuild it, which gives it new files: openstack '
                   'appcontainer rebuild.') from e


def _never_started(container: Any) -> bool:
    """Return True if the database says that the container never ran.

    The record of the request may be stale: Zun read it before the request
    waited for other operations, such as another start.
    """
    try:
        current = zun_objects.Container.get_by_uuid(
            zun_context.get_admin_context(all_projects=True), container.uuid)
    except Exception as e:
        LOG.warning('Could not check whether %s ever ran: %s',
                    container.uuid, errors.text(e))
        return False
    return bool(current.status == consts.CREATED)
