"""A cluster or several devices go in; a `tf.distribute` strategy comes out, under which Keras trains as on one device."""
