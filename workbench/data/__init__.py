"""Images: known data sets, image folders, decoding, augmentation, and batches.

``catalog`` has the facts about each data set without its images, ``sets`` and ``folder_images``
read images, ``feeds`` makes batches. The package does not use networks or domains; ``catalog``,
``folder_files`` and ``user_paths`` do not load torch.
"""
