// As much of a plugin library as its loader looks at.
extern "C" __attribute__((visibility("default"))) void* getCreators(int& count) {
    count = 0;
    return nullptr;
}
