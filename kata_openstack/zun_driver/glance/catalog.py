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

"""Finds images in Glance, with the rights of the user who asks."""

from typing import Any

from glanceclient import exc as glance_exc
from zun.common import exception as zun_exc
from zun.image.glance import utils

from kata_openstack import exception
from kata_openstack.zun_driver import errors

_LONGEST = 200  # characters of a message of Glance


def find(context: Any, ident: str) -> Any:
    """Return the image in Glance that the user may use.

    :param ident: its UUID, its name, or NAME:TAG
    :raises zun.common.exception.ImageNotFound: also if the user may not see
        it, or if it is no container image
    :raises zun.common.exception.Conflict: several images have the name
    :raises GlanceFailed: Glance does not answer, or the image has no data
    """
    try:
        image = _find(context, ident)
    except zun_exc.ImageNotFound:
        raise errors.make(
            zun_exc.ImageNotFound,
            f'Image {ident[:64]} was not found in Glance. Check its name or '
            'UUID, that your project may use it, and that its container '
            'format is docker: openstack image show.') from None
    except zun_exc.ZunException:
        raise
    except Exception as e:
        raise failed(ident, e) from e
    if image.status != 'active':
        raise exception.GlanceFailed(
            image=image.id, why=f'its status is {image.status}',
            remedy='Upload its data, or ask your administrator to reactivate '
                   'it.')
    if image.id != image.id.lower():
        # Nodes name images by their UUIDs in lower case. Another image, of
        # another project, could have the same UUID in that form.
        raise exception.GlanceFailed(
            image=image.id, why='its UUID has capital letters',
            remedy='Upload it again and let Glance choose the UUID.')
    return image


def _find(context: Any, ident: str) -> Any:
    try:
        return utils.find_image(context, ident, '')
    except zun_exc.ImageNotFound:
        name, colon, tag = ident.rpartition(':')
        if not colon or not name:
            raise
        return utils.find_image(context, name, tag)


def failed(image: str, error: Exception) -> exception.GlanceFailed:
    """Return the error for a request that Glance did not answer."""
    if isinstance(error, glance_exc.Forbidden):
        why, remedy = 'Glance forbids it', (
            'Ask the owner of the image, or your administrator.')
    elif isinstance(error, glance_exc.NotFound):
        why, remedy = 'it is gone', 'Name another image.'
    else:
        why = ' '.join(errors.text(error).split())[:_LONGEST]
        remedy = 'Check that Glance works, and try again.'
    return exception.GlanceFailed(image=image[:64], why=why, remedy=remedy)
