"""Gigapixel scenes whose truth is known exactly: drawn figures, or labelled photographs laid together.

    scene = draw_scene(SceneOptions(people=4000, seed=1))
    write_scene(scene, Path("scene.tif"))
    write_truth(scene.truth, Path("scene.tif"))

scene      what a scene is; options; perspective
drawn      figures on a ground plane: person (outline), wardrobe (looks), props, ground, crowd (who stands where)
composed   photographs on a people-free ground: patches (painting them)
write      the picture, band by band
truth      CSV, GeoJSON, PANDA
pictures   small drawn pictures to train on
"""

from gigacount.synthesize.composed import compose_scene
from gigacount.synthesize.drawn import draw_scene
from gigacount.synthesize.pictures import draw_picture
from gigacount.synthesize.scene import Scene, SceneOptions, Truth
from gigacount.synthesize.truth import write_panda, write_truth
from gigacount.synthesize.write import write_scene

__all__ = [
    "Scene",
    "SceneOptions",
    "Truth",
    "compose_scene",
    "draw_picture",
    "draw_scene",
    "write_panda",
    "write_scene",
    "write_truth",
]
