/* Stands in for NVIDIA's libraries, so that their Python bindings can be imported on a machine without them.
   Nothing can be made with it: every factory returns a null pointer. Only the plugin registry is an object, whose methods do
   nothing, because the bindings ask it something while they are imported. */
static void *nothing(void) { return 0; }
static void *methods[64];
static void **object = methods;

static void *registry(void) {
    for (int i = 0; i < 64; i++) methods[i] = (void *)nothing;
    return &object;
}

void *getPluginRegistry(void) { return registry(); }
void *getBuilderPluginRegistry(int capability) { return registry(); }
void *createInferBuilder_INTERNAL(void *logger, int version) { return 0; }
void *createInferRuntime_INTERNAL(void *logger, int version) { return 0; }
void *createInferRefitter_INTERNAL(void *engine, void *logger, int version) { return 0; }
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) { return 0; }
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int version) { return 0; }
int getNvOnnxParserVersion(void) { return 0; }
_Bool initLibNvInferPlugins(void *logger, const char *name) { return 1; }
/* The Caffe and UFF parsers of TensorRT 8. */
void _ZN11nvuffparser15createUffParserEv(void) {}
void _ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi(void) {}
void _ZN14nvcaffeparser117createCaffeParserEv(void) {}
void _ZN14nvcaffeparser123shutdownProtobufLibraryEv(void) {}
