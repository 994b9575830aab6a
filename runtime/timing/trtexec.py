"""Options of trtexec (10.3 to 11.1, samples/common/sampleOptions.cpp) that runtime.bench lacks."""

from __future__ import annotations

from runtime.backends.base import INPUT_NAME

_CALIBRATE = "formats are made from the FP32 file: give --fp16 or --int8"
_TYPED = "the types in the file are those of the engine"
_DEFAULT = "this is the default"
_IMAGES = "give the images: --calibData=NAME:PATH"
_ONE_INPUT = "the input is an image: give --data=NAME:PATH"
# What to do without them.
OTHERS = {
    "--best": _CALIBRATE,
    "--fp8": _CALIBRATE,
    "--bf16": _CALIBRATE,
    "--int4": _CALIBRATE,
    "--stronglyTyped": f"{_DEFAULT}: {_TYPED}",
    "--precisionConstraints": _TYPED,
    "--layerPrecisions": _TYPED,
    "--layerOutputTypes": _TYPED,
    "--inputIOFormats": _TYPED,
    "--outputIOFormats": _TYPED,
    "--calib": _IMAGES,
    "--calibProfile": _IMAGES,
    "--minShapesCalib": _IMAGES,
    "--optShapesCalib": _IMAGES,
    "--maxShapesCalib": _IMAGES,
    "--sparsity": "weights are dense; leave it out",
    "--useDLACore": "engines run on the GPU; leave it out",
    "--allowGPUFallback": "engines run on the GPU; leave it out",
    "--useCudaGraph": f"{_DEFAULT}; --noCudaGraph turns it off",
    "--noDataTransfers": f"{_DEFAULT}; --includeDataTransfers turns it off",
    "--useSpinWait": f"{_DEFAULT}; leave it out",
    "--separateProfileRun": f"{_DEFAULT}; leave it out",
    "--explicitBatch": f"{_DEFAULT}; leave it out",
    "--skipInference": "give --buildOnly",
    "--batch": f"give --shapes={INPUT_NAME}:NxHxWx3",
    "--maxBatch": f"give --maxShapes={INPUT_NAME}:NxHxWx3",
    "--workspace": "give --memPoolSize=workspace:SIZE",
    "--streams": "give --infStreams=N",
    "--staticPlugins": "give a library that exports getCreators by --dynamicPlugins=FILE",
    "--loadInputs": _ONE_INPUT,
    "--loadRefOutputs": "labels are compared with those of FP32: give --data=NAME:PATH",
    "--dumpOutput": "give --exportOutput=FILE",
    "--dumpRawBindingsToFile": "give --exportOutput=FILE",
    "--profilingVerbosity": "engines are built with all details of their layers; leave it out",
    "--refit": "engines are built anew; leave it out",
    "--idleTime": "queries follow one another at once; leave it out",
    "--sleepTime": "queries follow one another at once; leave it out",
    "--noSpinWait": "the host spins while it waits; leave it out",
    "--useRuntime": "the full runtime loads every engine; leave it out",
    "--useProfile": "give --shapes, which picks the profile",
    "--vc": "give --versionCompatible",
}
# Those that nothing here corresponds to.
_NAMES = (
    "accuracyAlgorithm accuracyThreshold adjustForDLA allocationStrategy allowWeightStreaming "
    "asyncFileReader atol avgTiming buildDLAStandalone consistency continue cpuOnly "
    "decomposableAttentions directIO distributiveIndependence dryRun dumpKernelText "
    "dumpOptimizationProfile dumpRefit enablePluginOverride errorOnTimingCacheMiss "
    "excludeLeanRuntime exposeDMA getPlanVersionOnly helpBuildRoute ignoreParsedPluginLibs "
    "l2LimitForTiling layerDeviceTypes leanDLLPath markDebug markUnfusedTensorsAsDebugTensors "
    "maxAuxStreams maxTactics monitorMemory noBuilderCache noCompilationCache "
    "persistentCacheRatio pi pluginInstanceNorm preview refPair refitFromOnnx "
    "remoteAutoTuningConfig reportCapabilityDLA restricted rtol runtimePlatform safe safetyPlugins "
    "saveAllDebugTensors saveAllEngines saveDebugTensors serialized setBuildRoute "
    "setPluginsToSerialize std stripAllWeights stripWeights tacticSources tempdir "
    "tempfileControls tilingOptimizationLevel timeDeserialize timeRefit tuneBuildRouteFile "
    "tuneBuildRoutes tuningCacheFile tuningResultFile tuningSearch tuningTimeOut "
    "uint8AsymmetricQuantizationDLA useManagedMemory weightless weightStreamingBudget"
)
REST = frozenset(f"--{name}" for name in _NAMES.split())
