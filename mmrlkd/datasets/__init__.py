"""Parts of data sets that a search holds out."""
