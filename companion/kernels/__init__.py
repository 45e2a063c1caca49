"""How attention is computed: in one piece, by blocks of keys, in tiles, and on which device."""
