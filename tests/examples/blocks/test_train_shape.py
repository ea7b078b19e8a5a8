from align2llava.services.reward_model.llava.model import image_geometry, special_ids
from examples.blocks.scene import CELLS
from examples.blocks.train_shape import PIXELS, llava_config
from examples.blocks.train_tokenizer import BOS_ID, IMAGE_ID, PAD_ID


def test_every_cell_is_one_image_token():
    assert image_geometry(llava_config(600)) == (PIXELS.size, len(CELLS))


def test_ids_are_the_tokenizers():
    ids = special_ids(llava_config(600))
    assert (ids.bos, ids.pad, ids.image) == (BOS_ID, PAD_ID, IMAGE_ID)
