"""A cluster or several devices in, a `tf.distribute` strategy under which Keras trains as on one device out."""
