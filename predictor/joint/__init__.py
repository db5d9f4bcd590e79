"""The joint model: both devices' log times of a launch, from the kernel's facts and the launch's."""
