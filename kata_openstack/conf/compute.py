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

"""[compute]: the node service kata-compute."""

from oslo_config import cfg

GROUP = cfg.OptGroup('compute', title='kata-compute')

OPTS = [
    cfg.BoolOpt(
        'allow_privileged',
        default=False,
        help='Allow privileged containers. Such a container has full control '
             'over the guest kernel of its sandbox, but no access to the '
             'devices of the host.'),
    cfg.ListOpt(
        'allowed_registries',
        default=[],
        help='Registries, or paths in registries, whose images the node '
             'takes, as a list of REGISTRY[:PORT][/PATH], for example '
             'docker.io/library,registry.example:5000. An image of any other '
             'registry is refused by its name; the node opens no connection '
             'to that registry. An empty list allows all: users can then '
             'make the node connect to any host and port that it can '
             'reach.'),
    cfg.IntOpt(
        'max_concurrent_pulls',
        default=8, min=1, max=64,
        help='Number of images that the node pulls at the same time. Further '
             'pulls wait. One project gets at most half of this number, so '
             'that a slow registry of one project does not stop the pulls '
             'of the others.'),
    cfg.IntOpt(
        'max_concurrent_starts',
        default=10, min=1, max=64,
        help='Number of virtual machines that the node starts at the same '
             'time. Further starts wait. One project gets at most half of '
             'this number.'),
    cfg.IntOpt(
        'max_log_response_mib',
        deprecated_name='max_log_size_mib',
        default=4, min=1, max=64,
        help='Maximum size, in MiB, of the answer to one request for the '
             'logs of a container. Longer logs lose their beginning. The '
             'answer passes through the message broker.'),
    cfg.IntOpt(
        'max_log_file_mib',
        default=64, min=1,
        help="Size, in MiB, at which a container's log file is rotated. One "
             'rotated file is kept; the previous one is removed. The logs of '
             'a container therefore take up to twice this size on disk, plus '
             'the output of the few seconds between two checks.'),
    cfg.IntOpt(
        'max_exec_output_mib',
        default=4, min=1, max=14,
        help='Maximum size, in MiB, of the output that "openstack '
             'appcontainer exec" returns: standard output, then standard '
             'error. The end of a longer output is cut off.'),
    cfg.IntOpt(
        'min_free_disk_mib',
        default=1024, min=0,
        help='Free space, in MiB, that pulls and new containers leave on the '
             'file system of containerd. If less is free, the node removes '
             'unused images that it pulled, and refuses what still does not '
             'fit. It ends a pull that would take this space.'),
    cfg.IntOpt(
        'unused_image_days',
        default=30, min=0,
        help='Days after which the node removes an image that it pulled and '
             'that no container has used since. 0 keeps images until space '
             'is needed. Images that others pulled or imported are never '
             'removed.'),
    cfg.StrOpt(
        'image_import_path',
        default='/var/lib/zun/images',
        help='Folder from which the node imports images of Glance. '
             'zun-compute downloads them into it, and removes each file after '
             'the import. It must be the folder that [glance] '
             "images_directory names in zun-compute's configuration. The node "
             'opens files of no other folder.'),
    cfg.IntOpt(
        'resync_interval',
        default=60, min=5,
        help='Seconds between two comparisons of the state that kata-compute '
             "has recorded with containerd's. Another comparison follows "
             'each reconnection to containerd.'),
]
