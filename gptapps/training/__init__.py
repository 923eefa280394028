"""Fine-tuning on data of one's own: the data, its examination, the methods and the loop."""
