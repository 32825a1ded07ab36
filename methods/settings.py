"""Settings that several methods share."""

# Shared by the four methods of that paper (SDXL, 1024 px, text encoders frozen, constant lr, 8-bit AdamW). Weight decay
# and clipping are defaults of the released training script, not stated in the paper. It starts A from N(0, 1/rank²);
# here every method starts as peft does by default, from U(−1/√in, 1/√in).
STANISZEWSKI = {"rank": 64, "alpha": 64, "lr": 1e-5, "steps": 850, "batch_size": 1, "weight_decay": 1e-4}

# A common starting point for photographs at 512 and 768 px (lr, steps and batch as in diffusers' own DreamBooth-LoRA
# examples); NOT tuned here, for any method. The same for all, so that they meet on equal terms.
PHOTOS = {"lr": 1e-4, "steps": 500, "batch_size": 1}

# The backbones on which a method has no settings of its own.
COMMON = {"sd15": PHOTOS, "sd21": PHOTOS, "sdxl": STANISZEWSKI}
