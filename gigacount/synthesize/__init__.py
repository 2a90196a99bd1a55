"""Gigapixel scenes whose truth is known exactly: drawn figures, or labelled photographs laid together.

    scene = draw_scene(SceneOptions(people=4000, seed=1))
    write_scene(scene, Path("scene.tif"))
    write_truth(scene.truth, Path("scene.tif"))

scene      what a scene is; options; perspective
drawn      figures on a ground_plane: crowd (who stands where), wardrobe (looks), props; small ones to train on
above      the same from straight above: who stands where; overhead (looks, things, shadows)
painting   paints any window of drawn figures
composed   photographs on a people-free ground
write      the image, band by band; the truth as CSV, GeoJSON, PANDA
"""

from gigacount.synthesize.composed import compose_scene
from gigacount.synthesize.drawn import draw_image, draw_scene
from gigacount.synthesize.scene import Scene, SceneOptions, Truth
from gigacount.synthesize.write import write_panda, write_scene, write_truth

__all__ = [
    "Scene",
    "SceneOptions",
    "Truth",
    "compose_scene",
    "draw_image",
    "draw_scene",
    "write_panda",
    "write_scene",
    "write_truth",
]
