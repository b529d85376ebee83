/* The Vision Transformer that every tower is made of: patches, positions, pre-norm blocks. A tower's
 * table of rows fills these structs; a tensor that the tower does not have keeps no data.
 *
 *     h = patches + position                  CLIP: the class row is in front before positions are added,
 *     h = [class; registers; h]               others: extra rows get none
 *     each block: h += scale1 * out(attention(ln1(h)))
 *                 h += scale2 * fc2(act(fc1(ln2(h))))
 *
 * C width, M width of the MLP, N head size. src: Dosovitskiy et al. 2020; LayerScale: Touvron et al. 2021;
 * windows and relative positions: Li et al. 2022 (ViTDet) as in SAM. */
#ifndef VR_VISION_VIT_H
#define VR_VISION_VIT_H
#include "vision/vision.h"

typedef struct vr_vit_outer {
    vr_tensor class_row, registers;   /* [C], [R,C] */
    vr_tensor patch_w, patch_b;       /* [C,3,P,P], [C] */
    vr_tensor position;               /* [positions, C] */
    vr_tensor pre_w, pre_b;           /* norm before the blocks */
    vr_tensor post_w, post_b;         /* norm of the features */
    vr_tensor unused_w, unused_b;     /* the norm of a file whose features leave it out */
} vr_vit_outer;

typedef struct vr_vit_layer {
    vr_tensor ln1_w, ln1_b;
    vr_tensor qkv_w, qkv_b;           /* [3C,C]: rows of q, then k, then v; or apart: */
    vr_tensor q_w, q_b, k_w, k_b, v_w, v_b;
    vr_tensor rel_h, rel_w;           /* [2*side-1, N]: relative positions of the window or the grid */
    vr_tensor out_w, out_b, scale1;   /* scale [C]: LayerScale */
    vr_tensor ln2_w, ln2_b, fc1_w, fc1_b, fc2_w, fc2_b, scale2;
} vr_vit_layer;

/* Rows of a layer as two libraries name them; timm's last two are LayerScale, which SigLIP lacks. */
enum { VR_HF_LAYER_ROWS = 16, VR_TIMM_LAYER_ROWS = 14, VR_TIMM_SCALE_ROWS = 2 };
extern const vr_row vr_hf_layer_rows[VR_HF_LAYER_ROWS], vr_timm_layer_rows[VR_TIMM_LAYER_ROWS];

/* pixels [3,H,W] -> [rows, C]: the whole of CLIP, SigLIP and DINOv2. */
vr_tensor *vr_vit_forward(vr_run *run, const vr_tower *tower, const vr_tensor *pixels);
/* The grid of whole patches in such pixels. */
vr_grid vr_vit_grid(const vr_tower *tower, const vr_tensor *pixels);
/* The position table's rows for the picture's grid; fails where the tower's table fits one grid only. */
vr_tensor *vr_vit_positions(vr_run *run, const vr_tower *tower, const vr_tensor *table, vr_grid grid);
/* h [rows, C] after block taken_block; windows and relative positions, where layers have them, are of `grid`. */
vr_tensor *vr_vit_blocks(vr_run *run, const vr_tower *tower, vr_tensor *h, vr_grid grid);
/* Gives an activation to the watcher: "name", or "name.index" for an index from 0 on; rows of a grid are
 * shown as [height, width, C], others (grid of height 0) as they are. */
void vr_vit_show(const vr_tower *tower, const char *name, int index, const vr_tensor *value, vr_grid grid);
#endif
