"""RAZ-Net: recurrent attentive zooming for joint counting and localization (Liu, Weng and Mu, CVPR 2019)."""

from gigacount.networks.raznet.network import RazNet

__all__ = ["RazNet"]
