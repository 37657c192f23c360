"""Images: known data sets, image folders, decoding, augmentation, and batches.

``catalog`` has the facts about each data set without its images. ``known_sets`` and
``folder_images`` read images, ``image_batches`` makes batches. The package does not use networks
or domains. It also has what all packages above need to read and write files safely:
``whole_files`` (complete or absent), ``checked_values`` (values of foreign files) and
``user_paths``. ``catalog``, ``folder_files`` and these three do not load torch.
"""
