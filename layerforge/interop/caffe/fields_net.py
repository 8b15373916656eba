"""Fields of nets, layers, blobs and samples (see fields.py for the form)."""

TABLE = """
enum Phase: TRAIN=0 TEST=1
enum Type: DOUBLE=0 FLOAT=1 FLOAT16=2 INT=3 UINT=4

message BlobShape
    dim 1 int64**

message BlobProto
    num 1 int32; channels 2 int32; height 3 int32; width 4 int32
    data 5 float**; diff 6 float**; shape 7 BlobShape; double_data 8 double**; double_diff 9 double**
    raw_data_type 10 Type; raw_diff_type 11 Type; raw_data 12 bytes; raw_diff 13 bytes

message BlobProtoVector
    blobs 1 BlobProto*

message Datum
    channels 1 int32; height 2 int32; width 3 int32; data 4 bytes; label 5 int32; float_data 6 float*; encoded 7 bool

message FillerParameter
    enum VarianceNorm: FAN_IN=0 FAN_OUT=1 AVERAGE=2
    type 1 string = constant; value 2 float; min 3 float; max 4 float = 1; mean 5 float; std 6 float = 1
    sparse 7 int32 = -1; variance_norm 8 VarianceNorm = FAN_IN
    diag_val - float*

message NetParameter
    name 1 string; input 3 string*; input_shape 8 BlobShape*; input_dim 4 int32*
    force_backward 5 bool; state 6 NetState; debug_info 7 bool
    layer 100 LayerParameter*; layers 2 V1LayerParameter*
    profile_info - bool; profile_iter - int32; profile_warmup - int32; engine - string
    enum Type: DOUBLE=0 FLOAT=1 FLOAT16=2 INT=3 UINT=4
    default_forward_type - Type; default_backward_type - Type; default_forward_math - Type; default_backward_math - Type
    global_grad_scale - float = 1; default_conv_algos_override - string

message NetState
    phase 1 Phase = TEST; level 2 int32; stage 3 string*

message NetStateRule
    phase 1 Phase; min_level 2 int32; max_level 3 int32; stage 4 string*; not_stage 5 string*

message ParamSpec
    enum DimCheckMode: STRICT=0 PERMISSIVE=1
    name 1 string; share_mode 2 DimCheckMode; lr_mult 3 float = 1; decay_mult 4 float = 1

message LayerParameter
    name 1 string; type 2 string; bottom 3 string*; top 4 string*; phase 10 Phase; loss_weight 5 float*
    param 6 ParamSpec*; blobs 7 BlobProto*; propagate_down 11 bool*; include 8 NetStateRule*; exclude 9 NetStateRule*
    transform_param 100 TransformationParameter; loss_param 101 LossParameter
    accuracy_param 102 AccuracyParameter; argmax_param 103 ArgMaxParameter
    batch_norm_param 139 BatchNormParameter; bias_param 141 BiasParameter; clip_param 148 ClipParameter
    concat_param 104 ConcatParameter; contrastive_loss_param 105 ContrastiveLossParameter
    convolution_param 106 ConvolutionParameter; crop_param 144 CropParameter; data_param 107 DataParameter
    dropout_param 108 DropoutParameter; dummy_data_param 109 DummyDataParameter
    eltwise_param 110 EltwiseParameter; elu_param 140 ELUParameter; embed_param 137 EmbedParameter
    exp_param 111 ExpParameter; flatten_param 135 FlattenParameter; hdf5_data_param 112 HDF5DataParameter
    hdf5_output_param 113 HDF5OutputParameter; hinge_loss_param 114 HingeLossParameter
    image_data_param 115 ImageDataParameter; infogain_loss_param 116 InfogainLossParameter
    inner_product_param 117 InnerProductParameter; input_param 143 InputParameter; log_param 134 LogParameter
    lrn_param 118 LRNParameter; memory_data_param 119 MemoryDataParameter; mvn_param 120 MVNParameter
    parameter_param 145 ParameterParameter; pooling_param 121 PoolingParameter; power_param 122 PowerParameter
    prelu_param 131 PReLUParameter; python_param 130 PythonParameter; recurrent_param 146 RecurrentParameter
    reduction_param 136 ReductionParameter; relu_param 123 ReLUParameter; reshape_param 133 ReshapeParameter
    scale_param 142 ScaleParameter; sigmoid_param 124 SigmoidParameter; softmax_param 125 SoftmaxParameter
    spp_param 132 SPPParameter; slice_param 126 SliceParameter; swish_param 147 SwishParameter
    tanh_param 127 TanHParameter; threshold_param 128 ThresholdParameter; tile_param 138 TileParameter
    window_data_param 129 WindowDataParameter
    annotated_data_param 200 AnnotatedDataParameter; multibox_loss_param 201 MultiBoxLossParameter
    permute_param 202 PermuteParameter; prior_box_param 203 PriorBoxParameter
    detection_output_param 204 DetectionOutputParameter; detection_evaluate_param 205 DetectionEvaluateParameter
    norm_param 206 NormalizeParameter; video_data_param 207 VideoDataParameter
    roi_pooling_param 8266711 ROIPoolingParameter; smooth_l1_loss_param 8266712 SmoothL1LossParameter
    psroi_pooling_param - PSROIPoolingParameter; box_annotator_ohem_param - BoxAnnotatorOHEMParameter
    upsample_param - UpsampleParameter; bn_param - BNParameter; interp_param - InterpParameter
    reorg_param - ReorgParameter; shuffle_channel_param - ShuffleChannelParameter; axpy_param - AxpyParameter
    crop_center_param - CropCenterParameter; relu6_param - ReLU6Parameter; lstm_param - LSTMParameter
    dense_image_data_param - DenseImageDataParameter; seg_accuracy_param - SegAccuracyParameter
    margin_inner_product_param - MarginInnerProductParameter; squeezedet_param - SqueezeDetParameter
    bbox_data_param - BboxDataParameter; selu_dropout_param - SeluDropoutParameter
    normalize_param - NormalizeParameter; normalize_bbox_param - NormalizeParameter; mish_param - MishParameter
    region_param - RegionParameter; region_loss_param - RegionParameter
    yolo_detection_output_param - YoloDetectionOutputParameter
    focal_loss_param - FocalLossParameter; center_loss_param - CenterLossParameter
    weights_compress - string; activations_compress - string; compress - string
    weights_compress_param - CompressParameter; activations_compress_param - CompressParameter
    enum Type: DOUBLE=0 FLOAT=1 FLOAT16=2 INT=3 UINT=4
    forward_type - Type; backward_type - Type; forward_math - Type; backward_math - Type
    debug - bool; engine - string
"""
