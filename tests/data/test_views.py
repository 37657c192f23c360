"""Random crops into zeros and into the mirrored image, against torch's own padding."""

import pytest
import torch

from workbench.data.augmentation import apply_views, draw_views


@pytest.mark.parametrize(("reflect", "mode"), [(False, "constant"), (True, "reflect")])
def test_a_view_is_a_crop_of_the_padded_image(reflect, mode):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 9, 7), dtype=torch.uint8, generator=generator)
    views = draw_views(len(images), 3, True, generator)
    seen = apply_views(images, views, 3, reflect=reflect)
    padded = torch.nn.functional.pad(images.float(), (3,) * 4, mode=mode).byte()
    for image, (down, right, mirror), view in zip(padded, views.tolist(), seen, strict=True):
        cut = image[:, down : down + 9, right : right + 7]
        assert torch.equal(view, cut.flip(2) if mirror else cut)


def test_without_a_shift_both_are_the_image_itself():
    images = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).view(2, 3, 8, 8)
    middle = torch.tensor([[2, 2, 0], [2, 2, 0]])
    for reflect in (False, True):
        assert torch.equal(apply_views(images, middle, 2, reflect=reflect), images)
