"""Fields of layers that forks of Caffe added: SSD, R-FCN, SegNet, PSPNet and others (see fields.py for the form)."""

TABLE = """
message ResizeParameter
    enum Resize_mode: WARP=1 FIT_SMALL_SIZE=2 FIT_LARGE_SIZE_AND_PAD=3
    enum Pad_mode: CONSTANT=1 MIRRORED=2 REPEAT_NEAREST=3
    enum Interp_mode: LINEAR=1 AREA=2 NEAREST=3 CUBIC=4 LANCZOS4=5
    prob 1 float = 1; resize_mode 2 Resize_mode = WARP; height 3 uint32; width 4 uint32
    height_scale 8 uint32; width_scale 9 uint32; pad_mode 5 Pad_mode = CONSTANT; pad_value 6 float*
    interp_mode 7 Interp_mode*

message SaltPepperParameter
    fraction 1 float; value 2 float*

message NoiseParameter
    prob 1 float; hist_eq 2 bool; inverse 3 bool; decolorize 4 bool; gauss_blur 5 bool; jpeg 6 float = -1
    posterize 7 bool; erode 8 bool; saltpepper 9 bool; saltpepper_param 10 SaltPepperParameter; clahe 11 bool
    convert_to_hsv 12 bool; convert_to_lab 13 bool

message DistortionParameter
    brightness_prob 1 float; brightness_delta 2 float; contrast_prob 3 float; contrast_lower 4 float
    contrast_upper 5 float; hue_prob 6 float; hue_delta 7 float; saturation_prob 8 float; saturation_lower 9 float
    saturation_upper 10 float; random_order_prob 11 float

message ExpansionParameter
    prob 1 float = 1; max_expand_ratio 2 float = 1

message EmitConstraint
    enum EmitType: CENTER=0 MIN_OVERLAP=1
    emit_type 1 EmitType = CENTER; emit_overlap 2 float

message Sampler
    min_scale 1 float = 1; max_scale 2 float = 1; min_aspect_ratio 3 float = 1; max_aspect_ratio 4 float = 1

message SampleConstraint
    min_jaccard_overlap 1 float; max_jaccard_overlap 2 float; min_sample_coverage 3 float
    max_sample_coverage 4 float; min_object_coverage 5 float; max_object_coverage 6 float

message BatchSampler
    use_original_image 1 bool = true; sampler 2 Sampler; sample_constraint 3 SampleConstraint; max_sample 4 uint32
    max_trials 5 uint32 = 100

message AnnotatedDataParameter
    enum AnnotationType: BBOX=0
    batch_sampler 1 BatchSampler*; label_map_file 2 string; anno_type 3 AnnotationType

message NonMaximumSuppressionParameter
    nms_threshold 1 float = 0.3; top_k 2 int32; eta 3 float = 1

message SaveOutputParameter
    output_directory 1 string; output_name_prefix 2 string; output_format 3 string; label_map_file 4 string
    name_size_file 5 string; num_test_image 6 uint32; resize_param 7 ResizeParameter

message PriorBoxParameter
    enum CodeType: CORNER=1 CENTER_SIZE=2 CORNER_SIZE=3
    min_size 1 float*; max_size 2 float*; aspect_ratio 3 float*; flip 4 bool = true; clip 5 bool
    variance 6 float*; img_size 7 uint32; img_h 8 uint32; img_w 9 uint32; step 10 float; step_h 11 float
    step_w 12 float; offset 13 float = 0.5
    offset_h - float; offset_w - float; width - float*; height - float*
    fixed_size - float*; fixed_ratio - float*; density - float*

message DetectionOutputParameter
    num_classes 1 uint32; share_location 2 bool = true; background_label_id 3 int32
    nms_param 4 NonMaximumSuppressionParameter; save_output_param 5 SaveOutputParameter
    code_type 6 PriorBoxParameter.CodeType = CORNER; keep_top_k 7 int32 = -1; variance_encoded_in_target 8 bool
    confidence_threshold 9 float; visualize 10 bool; visualize_threshold 11 float; save_file 12 string
    objectness_score - float; clip - bool; clip_before_nms - bool; clip_after_nms - bool

message DetectionEvaluateParameter
    num_classes 1 uint32; background_label_id 2 uint32; overlap_threshold 3 float = 0.5
    evaluate_difficult_gt 4 bool = true; name_size_file 5 string; resize_param 6 ResizeParameter

message MultiBoxLossParameter
    enum LocLossType: L2=0 SMOOTH_L1=1
    enum ConfLossType: SOFTMAX=0 LOGISTIC=1
    enum MatchType: BIPARTITE=0 PER_PREDICTION=1
    enum MiningType: NONE=0 MAX_NEGATIVE=1 HARD_EXAMPLE=2
    loc_loss_type 1 LocLossType = SMOOTH_L1; conf_loss_type 2 ConfLossType = SOFTMAX; loc_weight 3 float = 1
    num_classes 4 uint32; share_location 5 bool = true; match_type 6 MatchType = PER_PREDICTION
    overlap_threshold 7 float = 0.5; use_prior_for_matching 8 bool = true; background_label_id 9 uint32
    use_difficult_gt 10 bool = true; do_neg_mining 11 bool; neg_pos_ratio 12 float = 3; neg_overlap 13 float = 0.5
    code_type 14 PriorBoxParameter.CodeType = CORNER; encode_variance_in_target 16 bool
    map_object_to_agnostic 17 bool; ignore_cross_boundary_bbox 18 bool; bp_inside 19 bool
    mining_type 20 MiningType = MAX_NEGATIVE; nms_param 21 NonMaximumSuppressionParameter
    sample_size 22 int32 = 64; use_prior_for_nms 23 bool

message PermuteParameter
    order 1 uint32*

message NormalizeParameter
    across_spatial 1 bool = true; scale_filler 2 FillerParameter; channel_shared 3 bool = true; eps 4 float = 1e-10

message VideoDataParameter
    enum VideoType: WEBCAM=0 VIDEO=1
    video_type 1 VideoType = WEBCAM; device_id 2 int32; video_file 3 string; skip_frames 4 uint32

message ROIPoolingParameter
    pooled_h 1 uint32; pooled_w 2 uint32; spatial_scale 3 float = 1

message SmoothL1LossParameter
    sigma 1 float = 1

message PSROIPoolingParameter
    spatial_scale 1 float; output_dim 2 int32; group_size 3 int32

message BoxAnnotatorOHEMParameter
    roi_per_img 1 uint32; ignore_label 2 int32 = -1

message UpsampleParameter
    scale 1 uint32 = 2; scale_h 2 uint32; scale_w 3 uint32; pad_out_h 4 bool; pad_out_w 5 bool
    upsample_h 6 uint32; upsample_w 7 uint32
    stride - uint32; stride_h - uint32; stride_w - uint32

message BNParameter
    enum BNMode: LEARN=0 INFERENCE=1
    enum Engine: DEFAULT=0 CAFFE=1 CUDNN=2
    scale_filler 1 FillerParameter; shift_filler 2 FillerParameter; bn_mode 3 BNMode = LEARN
    slope_filler - FillerParameter; bias_filler - FillerParameter; momentum - float = 0.9; eps - float = 1e-5
    frozen - bool; engine - Engine = DEFAULT

message InterpParameter
    height 1 int32; width 2 int32; zoom_factor 3 int32 = 1; shrink_factor 4 int32 = 1; pad_beg 5 int32; pad_end 6 int32
    use_blob_size - bool

message ReorgParameter
    stride 1 uint32 = 2; reverse 2 bool

message ShuffleChannelParameter
    group 1 uint32 = 1

message AxpyParameter
    axis - int32

message CropCenterParameter
    crop_size - uint32*

message ReLU6Parameter
    negative_slope - float; threshold - float = 6

message LSTMParameter
    num_output 1 uint32; clipping_threshold 2 float; weight_filler 3 FillerParameter; bias_filler 4 FillerParameter
    batch_size 5 uint32 = 1

message DenseImageDataParameter
    source - string; batch_size - uint32 = 1; shuffle - bool; new_height - uint32; new_width - uint32
    is_color - bool = true; root_folder - string; label_divide_factor - uint32 = 1; rand_skip - uint32
    crop_height - uint32; crop_width - uint32; mirror - bool

message SegAccuracyParameter
    ignore_label - int32*; reset - bool

message MarginInnerProductParameter
    enum MarginType: SINGLE=0 DOUBLE=1 TRIPLE=2 QUADRUPLE=3
    num_output - uint32; type - MarginType = SINGLE; weight_filler - FillerParameter; axis - int32 = 1
    base - float = 1; gamma - float; power - float = 1; lambda_min - float; iteration - int32

message SqueezeDetParameter
    enum Engine: DEFAULT=0 CAFFE=1 CUDNN=2
    engine - Engine = DEFAULT; anchors_per_grid - uint32; classes - uint32; pos_conf - float; neg_conf - float
    lambda_bbox - float; lambda_conf - float; anchor_shapes - float*

message BboxDataParameter
    source - string; batch_size - uint32 = 1; shuffle - bool; is_color - bool = true; root_folder - string
    new_height - uint32; new_width - uint32; rand_skip - uint32

message SeluDropoutParameter
    dropout_ratio - float = 0.5; alpha - float; fixed_point_mean - float; fixed_point_var - float

message MishParameter
    enum Engine: DEFAULT=0 CAFFE=1 CUDNN=2
    engine 1 Engine = DEFAULT

message RegionParameter
    side - uint32 = 13; num_class - uint32 = 20; classes - uint32 = 20; coords - uint32 = 4; num - uint32 = 5
    softmax - uint32 = 1; jitter - float = 0.2; rescore - uint32 = 1; object_scale - float = 5
    noobject_scale - float = 1; class_scale - float = 1; coord_scale - float = 1; absolute - uint32 = 1
    thresh - float = 0.2; random - uint32 = 1; biases - float*; softmax_tree - string; class_map - string
    anchors - float*; anchor_x - float*; anchor_y - float*; mask - uint32*

message YoloDetectionOutputParameter
    side - uint32 = 13; num_classes - uint32 = 20; num_box - uint32 = 5; coords - uint32 = 4
    confidence_threshold - float = 0.01; nms_threshold - float = 0.45; biases - float*; label_map_file - string
    anchors_scale - uint32*; mask_group_num - uint32; mask - uint32*

message FocalLossParameter
    enum FocalType: ORIGIN=0 LINEAR=1
    type - FocalType = ORIGIN; gamma - float = 2; alpha - float = 0.25; beta - float = 1

message CenterLossParameter
    num_output - uint32; center_filler - FillerParameter; axis - int32 = 1

message CompressParameter
    maxbits - uint32
"""
