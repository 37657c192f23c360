"""The known data sets, as plain data.

Names, classes, image shape, split sizes and normalisation never change, so listing or checking
a domain needs neither the images nor heavy imports.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from workbench.data.folder_files import Folder


@dataclass(frozen=True)
class Source:
    """One data set that a network can be trained on.

    Attributes:
        classes: class names; the position of a name is its label.
        shape: channels, height and width of an image.
        train_images, test_images: images of each class, in the order of ``classes``.
        mean, std: of each channel over the training images, on a scale where white is 1.
        white: the stored (uint8) value of a white pixel.
        crop: pixels of zero padding for the random crop; 0 where a crop would cut content.
            Images of 64 pixels or more get a random resized crop instead.
        flip: whether a mirrored image still belongs to its class.
        model: the network to use when the user does not choose one.
        folder: the image folder, for a user's own images.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    train_images: tuple[int, ...]
    test_images: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    white: int
    crop: int
    flip: bool
    model: str
    folder: Folder | None = field(default=None, compare=False, repr=False)


SMALLEST_IMAGE, LARGEST_IMAGE = 4, 2048  # pixels high and wide
#: The data set of torchvision's and timm's pretrained weights. Its images are not available.
IMAGENET = "imagenet"


def crop_of(size: int) -> int:
    """Pixels of padding for images of this size: one eighth, as in 4 of 32 for CIFAR."""
    return max(1, size // 8)


def imagenet(size: int) -> Source:
    """ImageNet-1k as the source of pretrained weights: classes and normalisation, no images.

    Args:
        size: height and width in pixels of the network's input images.
    """
    from torchvision.models import ResNet18_Weights  # heavy and rarely needed

    return Source(
        name=IMAGENET,
        classes=tuple(ResNet18_Weights.DEFAULT.meta["categories"]),
        shape=(3, size, size),
        train_images=(),
        test_images=(),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        white=255,
        crop=crop_of(size),
        flip=True,
        model="torchvision:resnet18",
    )


_CIFAR100_CLASSES = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
    crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
    keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse
    mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
    porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
    snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television
    tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm""".split()
)

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="digits",
            classes=tuple("0123456789"),
            shape=(1, 8, 8),
            train_images=(142, 146, 142, 146, 145, 145, 145, 143, 139, 144),
            test_images=(36, 36, 35, 37, 36, 37, 36, 36, 35, 36),
            mean=(0.3054,),
            std=(0.3762,),
            white=16,
            crop=0,  # a digit fills its 8x8 image: a crop would cut strokes off
            flip=False,  # a mirrored 3 is not a 3
            model="simplecnn",
        ),
        Source(
            name="cifar10",
            classes=tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
            shape=(3, 32, 32),
            train_images=(5000,) * 10,
            test_images=(1000,) * 10,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
            white=255,
            crop=4,
            flip=True,
            model="vgg16",
        ),
        Source(
            name="cifar100",
            classes=_CIFAR100_CLASSES,
            shape=(3, 32, 32),
            train_images=(500,) * 100,
            test_images=(100,) * 100,
            mean=(0.5071, 0.4866, 0.4409),
            std=(0.2673, 0.2564, 0.2762),
            white=255,
            crop=4,
            flip=True,
            model="vgg16",
        ),
    )
}
