// Sections of many sizes for engines of two sizes, one after the other: every task runs once, on a thread that its engine has. Meant for
// ThreadSanitizer too: cmake -DBERTKIT_TESTS=ON -DCMAKE_CXX_FLAGS=-fsanitize=thread, target pool_stress.
//
//   pool_stress [sections = 100000]
#include <stdio.h>
#include <stdlib.h>

#include <atomic>

#include "../../native/runtime/pool.h"

namespace {

constexpr int kThreads = 7, kFewThreads = 2, kMostTasks = 9;

struct Section {
  int threads;
  int runs[kMostTasks] = {};  // plain: a task that two threads run at once is a data race
  std::atomic<int> strangers{0};
};

void task(void* argument, int index, int thread) {
  Section* s = (Section*)argument;
  s->runs[index]++;
  if (thread >= s->threads) s->strangers++;
  for (volatile int i = 0; i < 50; i++) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  const long sections = argc > 1 ? atol(argv[1]) : 100000;
  for (long i = 0; i < sections; i++) {
    if (i % 10000 == 0) bk::pool_stop();
    Section s;
    s.threads = bk::pool_grow(i % 2 ? kFewThreads : kThreads);
    const int tasks = 1 + (int)(i % kMostTasks);
    bk::pool_run(s.threads, tasks, task, &s);
    for (int t = 0; t < kMostTasks; t++)
      if (s.runs[t] != (t < tasks) || s.strangers) {
        printf("section %ld of %d tasks: task %d ran %d times, %d on a thread that is not the engine's\n", i, tasks, t, s.runs[t], s.strangers.load());
        return 1;
      }
  }
  bk::pool_stop();
  printf("%ld sections, every task once\n", sections);
  return 0;
}
