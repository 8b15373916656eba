"""Fields of layers of Caffe's first two formats (see fields.py for the form)."""

TABLE = """
message V1LayerParameter
    enum LayerType: NONE=0 ACCURACY=1 BNLL=2 CONCAT=3 CONVOLUTION=4 DATA=5 DROPOUT=6 EUCLIDEAN_LOSS=7 FLATTEN=8 \
        HDF5_DATA=9 HDF5_OUTPUT=10 IM2COL=11 IMAGE_DATA=12 INFOGAIN_LOSS=13 INNER_PRODUCT=14 LRN=15 \
        MULTINOMIAL_LOGISTIC_LOSS=16 POOLING=17 RELU=18 SIGMOID=19 SOFTMAX=20 SOFTMAX_LOSS=21 SPLIT=22 TANH=23 \
        WINDOW_DATA=24 ELTWISE=25 POWER=26 SIGMOID_CROSS_ENTROPY_LOSS=27 HINGE_LOSS=28 MEMORY_DATA=29 ARGMAX=30 \
        THRESHOLD=31 DUMMY_DATA=32 SLICE=33 MVN=34 ABSVAL=35 SILENCE=36 CONTRASTIVE_LOSS=37 EXP=38 DECONVOLUTION=39
    enum DimCheckMode: STRICT=0 PERMISSIVE=1
    bottom 2 string*; top 3 string*; name 4 string; include 32 NetStateRule*; exclude 33 NetStateRule*
    type 5 LayerType; blobs 6 BlobProto*; param 1001 string*; blob_share_mode 1002 DimCheckMode*
    blobs_lr 7 float*; weight_decay 8 float*; loss_weight 35 float*
    accuracy_param 27 AccuracyParameter; argmax_param 23 ArgMaxParameter; concat_param 9 ConcatParameter
    contrastive_loss_param 40 ContrastiveLossParameter; convolution_param 10 ConvolutionParameter
    data_param 11 DataParameter; dropout_param 12 DropoutParameter; dummy_data_param 26 DummyDataParameter
    eltwise_param 24 EltwiseParameter; exp_param 41 ExpParameter; hdf5_data_param 13 HDF5DataParameter
    hdf5_output_param 14 HDF5OutputParameter; hinge_loss_param 29 HingeLossParameter
    image_data_param 15 ImageDataParameter; infogain_loss_param 16 InfogainLossParameter
    inner_product_param 17 InnerProductParameter; lrn_param 18 LRNParameter; memory_data_param 22 MemoryDataParameter
    mvn_param 34 MVNParameter; pooling_param 19 PoolingParameter; power_param 21 PowerParameter
    relu_param 30 ReLUParameter; sigmoid_param 38 SigmoidParameter; softmax_param 39 SoftmaxParameter
    slice_param 31 SliceParameter; tanh_param 37 TanHParameter; threshold_param 25 ThresholdParameter
    window_data_param 20 WindowDataParameter; transform_param 36 TransformationParameter; loss_param 42 LossParameter
    layer 1 V0LayerParameter

message V0LayerParameter
    enum PoolMethod: MAX=0 AVE=1 STOCHASTIC=2
    name 1 string; type 2 string; num_output 3 uint32; biasterm 4 bool = true
    weight_filler 5 FillerParameter; bias_filler 6 FillerParameter
    pad 7 uint32; kernelsize 8 uint32; group 9 uint32 = 1; stride 10 uint32 = 1; pool 11 PoolMethod = MAX
    dropout_ratio 12 float = 0.5; local_size 13 uint32 = 5; alpha 14 float = 1; beta 15 float = 0.75; k 22 float = 1
    source 16 string; scale 17 float = 1; meanfile 18 string; batchsize 19 uint32; cropsize 20 uint32; mirror 21 bool
    blobs 50 BlobProto*; blobs_lr 51 float*; weight_decay 52 float*; rand_skip 53 uint32
    det_fg_threshold 54 float = 0.5; det_bg_threshold 55 float = 0.5; det_fg_fraction 56 float = 0.25
    det_context_pad 58 uint32; det_crop_mode 59 string = warp
    new_num 60 int32; new_channels 61 int32; new_height 62 int32; new_width 63 int32; shuffle_images 64 bool
    concat_dim 65 uint32 = 1; hdf5_output_param 1001 HDF5OutputParameter
"""
