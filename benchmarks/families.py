"""The networks of `keras.applications` that the benchmarks of backbones try, one of each family."""

FAMILIES = (
    "ResNet50",
    "ResNet50V2",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "VGG16",
    "DenseNet121",
    "InceptionV3",
    "Xception",
    "ConvNeXtTiny",
    "NASNetMobile",
    "InceptionResNetV2",
)
# With unknown sides, the network itself adds maps of different sizes.
KNOWN_SIDES = ("NASNetMobile",)
