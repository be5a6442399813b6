// The CPUs that control groups allow, of files as Linux has them in both versions.
#include <stdio.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "../../native/runtime/cpu.h"

#if defined(__linux__)
namespace {

struct File {
  const char *name, *text;
};

struct Case {
  const char* what;
  const char* groups;
  File files[4];
  int cpus;
};

const Case kCases[] = {
    {"no quota", "0::/\n", {{"cpu.max", "max 100000\n"}}, 0},
    {"no file", "0::/a\n", {}, 0},
    {"of the group in a container", "0::/\n", {{"cpu.max", "200000 100000\n"}}, 2},
    {"rounded up", "0::/a/b\n", {{"a/b/cpu.max", "250000 100000\n"}}, 3},
    {"less than one", "0::/a\n", {{"a/cpu.max", "5000 100000\n"}}, 1},
    {"of a group around it", "0::/a/b\n", {{"a/b/cpu.max", "max 100000\n"}, {"a/cpu.max", "300000 100000\n"}}, 3},
    {"the fewest of both", "0::/a/b\n", {{"a/b/cpu.max", "400000 100000\n"}, {"a/cpu.max", "700000 100000\n"}}, 4},
    {"of the first version", "5:memory:/x\n4:cpu,cpuacct:/a\n", {{"cpu/a/cpu.cfs_quota_us", "150000\n"}, {"cpu/a/cpu.cfs_period_us", "50000\n"}}, 3},
    {"none of the first version", "1:cpu:/\n0::/\n", {{"cpu/cpu.cfs_quota_us", "-1\n"}, {"cpu/cpu.cfs_period_us", "100000\n"}}, 0},
    {"by the name of outside", "3:cpuset,cpu:/docker/1f\n", {{"cpu/cpu.cfs_quota_us", "200000\n"}, {"cpu/cpu.cfs_period_us", "100000\n"}}, 2},
    {"of another controller", "3:cpuset:/a\n", {{"cpu/a/cpu.cfs_quota_us", "100000\n"}, {"cpu/a/cpu.cfs_period_us", "100000\n"}}, 0},
    {"lines that are none", "\n:\n4:cpu\n0::/\n", {{"cpu.max", "nonsense\n"}}, 0},
};

}  // namespace

int main() {
  namespace fs = std::filesystem;
  std::string folder = (fs::temp_directory_path() / "bertkit-quota-XXXXXX").string();
  if (!mkdtemp(&folder[0])) return 1;
  int failed = 0;
  for (const Case& c : kCases) {
    const fs::path mount = fs::path(folder) / std::to_string(&c - kCases);
    fs::create_directories(mount);
    const auto write = [&](const fs::path& file, const char* text) {
      fs::create_directories(file.parent_path());
      std::ofstream(file) << text;
    };
    for (const File& file : c.files)
      if (file.name) write(mount / file.name, file.text);
    write(mount / "groups", c.groups);
    const int cpus = bk::cpu_quota((mount / "groups").c_str(), mount.c_str());
    if (cpus == c.cpus) continue;
    printf("%s: expected %d CPUs but found %d\n", c.what, c.cpus, cpus);
    failed++;
  }
  fs::remove_all(folder);
  printf("%d quotas, %d wrong\n", (int)(sizeof kCases / sizeof *kCases), failed);
  return failed ? 1 : 0;
}
#else
int main() { return 0; }
#endif
