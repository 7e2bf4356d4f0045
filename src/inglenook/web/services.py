# SPDX-License-Identifier: Apache-2.0
"""The services that the page is made of, handed around as one value."""

from dataclasses import dataclass

from inglenook.door.services import Catalog, Gallery, Images, Jobs, Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    images: Images
    jobs: Jobs
    gallery: Gallery
    catalog: Catalog
    runtime: Runtime


IMAGE_KIND = "image"
"""The kind of job that this page shows."""
