"""A quicker start of Keras, for programs of the tests; to be imported before it.

Keras imports matplotlib and sklearn if they are installed, which takes a third of the start of TensorFlow and Keras.
"""

import sys

sys.modules |= {"matplotlib": None, "sklearn": None}
