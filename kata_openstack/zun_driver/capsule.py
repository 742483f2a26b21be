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

"""The capsule driver ``kata`` of zun-compute: several containers, one VM."""

from typing import Any

from oslo_log import log as logging
import zun.conf
from zun.container import driver

from kata_openstack import objects
from kata_openstack.zun_driver import base
from kata_openstack.zun_driver import client
from kata_openstack.zun_driver import errors
from kata_openstack.zun_driver import images
from kata_openstack.zun_driver.network import ports
from kata_openstack.zun_driver import placement
from kata_openstack.zun_driver.records import failures
from kata_openstack.zun_driver.records import status
from kata_openstack.zun_driver import refusals
from kata_openstack.zun_driver import translate

CONF = zun.conf.CONF
LOG = logging.getLogger(__name__)


class KataCapsuleDriver(base.KataBaseDriver, driver.CapsuleDriver):
    """Create and delete capsules. One capsule is one pod.

    Zun updates the state of capsules through the container driver. A capsule
    has no ``--runtime``; use the annotation ``kata-openstack.io/runtime``.
    """

    @errors.translated
    def create_capsule(self, context: Any, capsule: Any,
                       image: dict[str, Any],
                       requested_networks: list[dict[str, Any]],
                       requested_volumes: dict[str, Any]) -> Any:
        """Create and start the containers of a capsule.

        If this fails, it leaves nothing on the node, in Neutron or in
        Placement.

        :param image: Zun's sandbox image; not used.
        """
        try:
            self._create(context, capsule, requested_networks)
        except Exception as e:
            placement.free(context, capsule.uuid)
            failures.set_error(context, capsule,
                               errors.text(errors.to_zun(e)))
            raise
        return capsule

    def _create(self, context: Any, capsule: Any,
                requested_networks: list[dict[str, Any]]) -> None:
        refusals.refuse_capsule_options(capsule)
        translate.runtime(capsule)
        members = translate.members(capsule)
        pulled = [self._pull(context, capsule, record) for record in members]
        for record in members:  # as Zun does for containers
            record.disk = record.disk or CONF.default_disk
        network = ports.Network(context)
        attachment = network.attach(capsule, requested_networks)
        try:
            capsule.addresses = attachment.addresses
            capsule.save(context)
            pod = translate.capsule_pod(
                capsule, pulled, attachment).to_dict()
            api, ctxt = client.api(), client.context(context)
            api.create_pod(ctxt, client.host(capsule), pod)
            network.wait_active(capsule)
            found = objects.PodStatus.from_dict(
                api.start_pod(ctxt, client.host(capsule), pod))
        except Exception:
            self._clean_up(context, capsule)
            raise
        for record, (_, details) in zip(members, pulled, strict=True):
            record.host = capsule.host
            translate.defaults(record, details)
        status.apply_pod(capsule, found)
        for record in status.apply_capsule(capsule, found, forced=True):
            record.save(context)

    def _pull(self, context: Any, capsule: Any,
              record: Any) -> tuple[str, dict[str, Any]]:
        """Pull the image of one container.

        :returns: its full reference, and its details as the node reports
            them.
        """
        driver = translate.image_driver(capsule, record)
        repo, tag = images.parse_image_name(record.image, driver,
                                            record.registry)
        pulled = images.pull(context, client.host(capsule), repo, tag,
                             record.image_pull_policy, driver,
                             record.registry)
        record.image_driver = pulled['driver']
        return (images.reference({**pulled, 'repo': repo, 'tag': tag}),
                pulled[images.DETAILS])

    @errors.translated
    def delete_capsule(self, context: Any, capsule: Any,
                       force: bool) -> None:
        try:
            self._delete(context, capsule, bool(force))
        except Exception:
            # zun-api has set it for a capsule, so Zun's manager would keep it
            capsule.task_state = None
            raise
